from __future__ import annotations

import json

import pytest

from ingest_worker.parse import json as json_module
from ingest_worker.parse.json import JsonParser
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_textual import JSON
from tests.unit.ingest_worker.parse.block_texts import parts


def parts_of(value: object) -> list[tuple[str, int, str]]:
    return parts(JsonParser(), json.dumps(value).encode())


def test_json_small_object_is_one_paragraph_of_paths() -> None:
    assert parts(JsonParser(), JSON) == [
        (
            "paragraph",
            0,
            "title: Bees\nqueens: 1\nhive.workers: 60000\nhive.full: true\nmonths: May, June",
        )
    ]
    assert JsonParser().parse(JSON).title == "Bees"


def test_json_array_of_flat_records_is_a_table() -> None:
    value = [{"month": "May", "kilos": 12}, {"month": "June", "kilos": 1.50, "late": False}]
    assert parts_of(value) == [
        ("table", 0, "| month | kilos | late |\n| --- | --- | --- |\n| May | 12 |\n| June | 1.5 | false |")
    ]


def test_json_large_members_become_sections_after_the_scalars() -> None:
    hive = {f"frame {number}": f"holds {number} kilos" for number in range(30)}
    found = parts_of({"hive": hive, "name": "garden"})
    assert found[0] == ("paragraph", 0, "name: garden")
    assert found[1] == ("heading", 1, "hive")
    assert found[2][2].startswith("frame 0: holds 0 kilos\nframe 1: ")


def test_json_large_records_are_sections_named_after_their_label() -> None:
    text = {f"key {number}": "value" for number in range(30)}
    found = parts_of([{"Name": "first", **text}, text])
    assert [said for kind, _, said in found if kind == "heading"] == ["first", "Record 2"]


def test_json_small_records_within_an_object_stay_on_a_line_each() -> None:
    found = parts_of({"authors": [{"name": "A", "at": "X"}, {"name": "B", "at": "Y"}]})
    assert found == [("paragraph", 0, "authors: name: A; at: X\nauthors: name: B; at: Y")]


def test_json_long_text_keeps_its_paragraphs() -> None:
    assert parts_of({"id": 7, "body": "one.\n\ntwo."}) == [
        ("paragraph", 0, "id: 7"),
        ("paragraph", 0, "body: one."),
        ("paragraph", 0, "two."),
    ]


def test_json_numbers_stay_as_written_and_nan_passes() -> None:
    assert parts(JsonParser(), b'{"a": 1.10, "b": NaN, "c": 1e400, "d": 123456789012345678901234567890}') == [
        ("paragraph", 0, "a: 1.10\nb: NaN\nc: 1e400\nd: 123456789012345678901234567890")
    ]


@pytest.mark.parametrize("data", [b'{"a": 1,}', b"{'a': 1}", b'{"a": 1} {"b": 2}', b"no json"])
def test_json_invalid_raises_document_corrupt_naming_the_place(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"line 1, column \d") as caught:
        JsonParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("depth", [200, 100_000])
@pytest.mark.parametrize("marks", [("[", "]"), ('{"a":', "}")])
def test_json_absurd_nesting_raises_document_corrupt(depth: int, marks: tuple[str, str]) -> None:
    source = marks[0] * depth + "1" + marks[1] * depth
    with pytest.raises(InvalidArgument, match="too deeply") as caught:
        JsonParser().parse(source.encode())
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_json_too_many_values_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_module, "_MAX_VALUES", 10)
    monkeypatch.setattr(json_module, "_DECODER", None)
    with pytest.raises(ResourceExhausted) as caught:
        JsonParser().parse(b"[" + b"1," * 10 + b"1]")
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def test_json_long_names_of_nested_objects_do_not_multiply() -> None:
    value: object = dict.fromkeys(map(str, range(200)), "leaf")
    for number in range(50):
        value = {"n" * 1000 + str(number): value}
    assert len(JsonParser().parse(json.dumps(value).encode()).text) < 200_000
