from __future__ import annotations

from collections.abc import Callable

import pytest

from rag_server.domain.document import Chunk, Span
from rag_server.domain.retrieval import Leg, LegSignal, ScoredChunk

MakeSource = Callable[..., ScoredChunk]


@pytest.fixture
def make_source() -> MakeSource:
    def make(
        text: str,
        *,
        document: str = "d1",
        revision: int = 1,
        start: int = 0,
        title: str = "",
        headings: tuple[str, ...] = (),
        cosine: float | None = 0.5,
    ) -> ScoredChunk:
        chunk = Chunk(
            id=f"{document}-{revision}-{start}",
            tenant_id="default",
            collection_id="c",
            document_id=document,
            document_revision=revision,
            ordinal=0,
            text=text,
            span=Span(start, start + len(text)),
            heading_path=headings,
            token_count=len(text.split()),
            page_start=None,
            page_end=None,
            title=title,
            source_uri="",
            media_type="text/plain",
        )
        signals = {} if cosine is None else {Leg.DENSE: LegSignal(1, cosine)}
        return ScoredChunk(chunk, 1.0, signals)

    return make
