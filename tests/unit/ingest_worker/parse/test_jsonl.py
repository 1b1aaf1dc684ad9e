from __future__ import annotations

import pytest

from ingest_worker.parse import limits
from ingest_worker.parse.jsonl import JsonLinesParser
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_textual import JSONL
from tests.unit.ingest_worker.parse.block_texts import parts


def test_jsonl_each_record_is_a_section_with_its_label() -> None:
    assert parts(JsonLinesParser(), JSONL) == [
        ("heading", 1, "heather"),
        ("paragraph", 0, "name: heather\nkilos: 1.50"),
        ("heading", 1, "Record 2"),
        ("paragraph", 0, "kilos: NaN"),
    ]


def test_jsonl_line_separators_within_strings_are_no_line_ends() -> None:
    assert len(parts(JsonLinesParser(), '{"a": "x\u2028y"}\r\n{"a": "z"}'.encode())) == 4


@pytest.mark.parametrize(("data", "line"), [(b'{"a": 1}\n\n{"a": \n{}', 3), (b'{"a": 1} {}', 1)])
def test_jsonl_invalid_line_raises_document_corrupt_naming_it(data: bytes, line: int) -> None:
    with pytest.raises(InvalidArgument, match=f"line {line},") as caught:
        JsonLinesParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_jsonl_text_that_outgrows_the_limit_stops_at_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 100)
    with pytest.raises(ResourceExhausted):  # not corrupt: the invalid last line is never reached
        JsonLinesParser().parse(b"1\n" * 20 + b"{")
