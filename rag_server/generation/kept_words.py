"""An answer as bytes, to be given again: its words, citations, usage and reason, in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from rag_server.domain.document import Span
from rag_server.domain.generation import (
    Citation,
    CitationOrigin,
    Cited,
    Delta,
    FinishReason,
    Usage,
    Words,
)


def encode(words: Iterable[Words]) -> bytes:
    """Return an answer encoded; deltas that follow each other become one."""
    rows: list[list[Any]] = []
    for event in words:
        match event:
            case Delta(text):
                if rows and rows[-1][0] == "delta":
                    rows[-1][1] += text
                else:
                    rows.append(["delta", text])
            case Cited(citation):
                rows.append(["cited", *_citation_row(citation)])
            case Usage(prompt, answer):
                rows.append(["usage", prompt, answer])
            case FinishReason():
                rows.append(["reason", event.value])
    # A lone surrogate, which a model's tokens may make, is no UTF-8: escaped it comes through.
    return json.dumps(rows, separators=(",", ":")).encode()


def decode(data: bytes) -> Iterator[Words]:
    """Yield what was encoded, the deltas joined. Raises `ValueError` or `TypeError` for what is none."""
    for kind, *values in json.loads(data):
        match kind:
            case "delta":
                yield Delta(*values)
            case "cited":
                yield Cited(_citation(*values))
            case "usage":
                yield Usage(*values)
            case "reason":
                yield FinishReason(*values)
            case _:
                raise ValueError("not an event of an answer")


def _citation_row(citation: Citation) -> list[Any]:
    return [
        citation.source_index,
        citation.answer_span.start,
        citation.answer_span.end,
        citation.source_span.start,
        citation.source_span.end,
        citation.quote,
        citation.origin.value,
        citation.similarity,
    ]


def _citation(
    source_index: int,
    answer_start: int,
    answer_end: int,
    source_start: int,
    source_end: int,
    quote: str,
    origin: str,
    similarity: float | None,
) -> Citation:
    return Citation(
        source_index,
        Span(answer_start, answer_end),
        Span(source_start, source_end),
        quote,
        CitationOrigin(origin),
        similarity,
    )
