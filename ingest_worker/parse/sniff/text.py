"""Which of the textual formats a text is; what the caller says settles what the content leaves open."""

from __future__ import annotations

from collections.abc import Callable

from ingest_worker.parse.sniff.binary import SAMPLE_BYTES
from ingest_worker.parse.sniff.json_text import is_json, is_json_lines, is_notebook
from ingest_worker.parse.sniff.markup import (
    has_html_tags,
    is_html_fragment,
    is_html_page,
    is_markdown,
    is_xml,
)
from ingest_worker.parse.sniff.plain import is_message, is_org, is_restructured
from rag_server.domain.document import MediaType

_END_BYTES = 1024


def textual_type(data: bytes, sample: str, claim: MediaType | None) -> MediaType:
    """Return the format of `data`, which begins with the text `sample`.

    A page of HTML is one whatever the claim. Without a claim, only what has unmistakable signs is anything
    but plain text: a log with commas is no CSV.
    """
    start = sample.lstrip("\ufeff \t\r\n")
    is_whole = len(data) <= SAMPLE_BYTES
    if is_html_page(start):
        return MediaType.HTML
    if claim is MediaType.HTML:
        return MediaType.HTML if has_html_tags(sample) else MediaType.TEXT
    if claim in {MediaType.JSON, MediaType.JSONL}:
        return _json_or_lines(start, claim, is_whole=is_whole)
    if claim is not None:
        return claim
    return _unclaimed(data, start, is_whole=is_whole)


def _unclaimed(data: bytes, start: str, *, is_whole: bool) -> MediaType:
    end = start if is_whole else data[-_END_BYTES:].decode("utf-8", "replace")
    if is_json(start, is_whole=is_whole):
        return MediaType.IPYNB if is_notebook(data) else MediaType.JSON
    signs: tuple[tuple[MediaType, Callable[[], bool]], ...] = (
        (MediaType.JSONL, lambda: is_json_lines(start, is_whole=is_whole)),
        (MediaType.XML, lambda: is_xml(start, end)),
        (MediaType.HTML, lambda: is_html_fragment(start)),
        (MediaType.EML, lambda: is_message(start)),
        (MediaType.ORG, lambda: is_org(start)),
        (MediaType.RST, lambda: is_restructured(start)),
        (MediaType.MARKDOWN, lambda: is_markdown(start)),
    )
    return next((media_type for media_type, is_it in signs if is_it()), MediaType.TEXT)


def _json_or_lines(start: str, claim: MediaType, *, is_whole: bool) -> MediaType:
    """One of them is often said for the other; a single object on one line is both, and as it is claimed."""
    fits = {
        MediaType.JSON: is_json(start, is_whole=is_whole),
        MediaType.JSONL: is_json_lines(start, is_whole=is_whole),
    }
    other = MediaType.JSONL if claim is MediaType.JSON else MediaType.JSON
    return other if fits[other] and not fits[claim] and not _is_one_line(start, claim) else claim


def _is_one_line(start: str, claim: MediaType) -> bool:
    return claim is MediaType.JSONL and "\n" not in start.strip()
