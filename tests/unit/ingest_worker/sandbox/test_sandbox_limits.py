from __future__ import annotations

from typing import Any

import pytest

from ingest_worker.sandbox.limits import ParserLimits


def test_limits_come_back_from_the_command_line() -> None:
    limits = ParserLimits(
        cpu_s=1.5,
        wall_s=2,
        memory_bytes=3,
        output_bytes=4,
        documents_per_process=5,
        ocr_s=6,
        docling=("a/b", "c/d"),
    )
    assert ParserLimits.from_json(limits.to_json()) == limits


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu_s": 0},
        {"wall_s": -1},
        {"memory_bytes": 0},
        {"output_bytes": 0},
        {"output_bytes": 1 << 32},
        {"documents_per_process": 0},
        {"ocr_s": -1},
    ],
)
def test_limits_that_are_none_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="to be"):
        ParserLimits(**fields)


@pytest.mark.parametrize("before", [b"", b"junk\n", b" " * 60_000])
def test_what_may_be_a_pdf_gets_the_time_for_its_scanned_pages(before: bytes) -> None:
    limits = ParserLimits(cpu_s=1, wall_s=2, ocr_s=10).for_document(before + b"%PDF-1.7\n")
    assert (limits.cpu_s, limits.wall_s) == (11, 12)


@pytest.mark.parametrize("data", [b"", b"<html>", b"x" * 2000 + b"%PDF-1.7"])
def test_other_documents_get_no_time_for_scanned_pages(data: bytes) -> None:
    limits = ParserLimits(cpu_s=1, wall_s=2, ocr_s=10)
    assert limits.for_document(data) is limits


def test_pdfs_get_no_more_time_where_scanned_pages_are_not_read() -> None:
    limits = ParserLimits(cpu_s=1, wall_s=2)
    assert limits.for_document(b"%PDF-1.7") is limits


def test_a_process_with_docling_in_it_may_be_larger_and_still_be_used_again() -> None:
    plain, docling = ParserLimits(memory_bytes=1000), ParserLimits(memory_bytes=1000, docling=("a/b",))
    assert (plain.grown_bytes, docling.grown_bytes) == (250, 500)
