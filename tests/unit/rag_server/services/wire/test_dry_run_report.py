from __future__ import annotations

import pytest

from rag.v1 import dry_run_pb2 as pb
from rag_server.domain.document import ChunkDraft, MediaType, NewDocument, ParsedDocument, Span
from rag_server.domain.dry_run import DryRun
from rag_server.domain.page_boxes import PageBox
from rag_server.services.wire import dry_run as subject
from rag_server.services.wire.dry_run import to_draft, to_report


def draft(text: str = "text", **fields: object) -> ChunkDraft:
    return ChunkDraft(text, Span(3, 3 + len(text)), ("A", "B"), 5, **fields)  # type: ignore[arg-type]


def result(count: int, text: str = "text") -> DryRun:
    parsed = ParsedDocument("ñ" * 40, (), language="es", page_count=2)
    return DryRun(
        NewDocument("c", ""),
        "d" * 64,
        80,
        MediaType.PDF,
        parsed,
        "T",
        tuple(draft(text) for _ in range(count)),
    )


def test_report_has_the_totals_of_all_chunks() -> None:
    report = to_report(result(150), "name", pb.DryRun())
    assert (report.chunk_count, report.token_count, len(report.chunks)) == (150, 750, 100)
    assert (report.document_id, report.title, report.media_type) == ("name", "T", "application/pdf")
    assert (report.size_bytes, report.sha256, report.language) == (80, "d" * 64, "es")
    assert (report.page_count, report.character_count) == (2, 40)
    assert report.next_first_chunk == 100


def test_draft_has_every_field_and_a_long_text_is_cut() -> None:
    made = to_draft(draft("ñ" * 4001, page_start=2, page_end=3, boxes=(PageBox(2, 1, 2, 3, 4),)), 7)
    assert [(box.page, box.left, box.bottom) for box in made.boxes] == [(2, 0.0001, 0.0004)]
    assert (made.ordinal, made.token_count, list(made.heading_path)) == (7, 5, ["A", "B"])
    assert (made.span.start, made.span.end) == (3, 4004)
    assert (made.pages.first, made.pages.last) == (2, 3)
    assert (made.text, made.is_text_truncated) == ("ñ" * 4000, True)
    whole = to_draft(draft("ñ" * 4000), 0)
    assert (whole.text, whole.is_text_truncated, whole.HasField("pages")) == ("ñ" * 4000, False, False)


def test_chunks_are_bounded_in_bytes_and_at_least_one_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    size = to_draft(draft("x" * 1000), 0).ByteSize()
    monkeypatch.setattr(subject, "MAX_CHUNKS_BYTES", 3 * size + 10)
    report = to_report(result(10, "x" * 1000), "n", pb.DryRun(first_chunk=4))
    assert [each.ordinal for each in report.chunks] == [4, 5, 6]
    assert report.next_first_chunk == 7
    monkeypatch.setattr(subject, "MAX_CHUNKS_BYTES", 1)
    assert len(to_report(result(10), "n", pb.DryRun(first_chunk=4)).chunks) == 1
