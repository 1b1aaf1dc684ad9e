"""Checks a text that somebody has against passages: those given, chunks by name, or what is found for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rag_server.backends.protocols import ChunkStore
from rag_server.domain.document import Chunk
from rag_server.domain.grounding import (
    CheckedGrounding,
    FoundPassages,
    GivenPassages,
    GroundingSources,
    NamedChunks,
    Passage,
)
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import QuerySyntax, RetrievalRequest
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import InvalidArgument, NotFound
from rag_server.generation.ground import title_of
from rag_server.generation.grounding.judge import Judge
from rag_server.query.field_paths import FieldPaths
from rag_server.query.pipeline import Retrieval
from rag_server.query.read_your_writes import Directory
from rag_server.query.visible import Visibility
from rag_server.text.sentences import split_sentences
from rag_server.timing import Stopwatch

MAX_SENTENCES: Final = 100
"""Of a text: each costs some embeddings, and a search where passages are to be found."""

_MIN_CANDIDATES: Final = 20
_LONGEST_QUERY: Final = 8192
_PATHS: Final = FieldPaths(query="text", filter="search.filter", collection_ids="search.collection_ids")


class GroundingCheck:
    """Checks texts."""

    def __init__(
        self,
        judge: Judge,
        retrieval: Retrieval,
        directory: Directory,
        visibility: Visibility,
        chunks: ChunkStore,
    ) -> None:
        self._judge = judge
        self._retrieval = retrieval
        self._directory = directory
        self._visibility = visibility
        self._chunks = chunks

    async def check(
        self,
        tenant_id: str,
        text: str,
        sources: GroundingSources,
        language: str = "",
        *,
        limit: TimeLimit | None = None,
    ) -> CheckedGrounding:
        """Return what the sources say of `text`.

        Raises:
            InvalidArgument: `TOO_MANY_SENTENCES`; `UNSUPPORTED_LANGUAGE`.
            NotFound: `COLLECTION_NOT_FOUND`, `CHUNK_NOT_FOUND`.
        """
        watch = Stopwatch()
        sentences = await asyncio.to_thread(_sentences, text)
        revisions: dict[str, int] = {}
        match sources:
            case GivenPassages(texts):
                passages = [Passage(index, each) for index, each in enumerate(texts)]
            case NamedChunks():
                with watch.stage("read"):
                    passages = _passages(await self._read(tenant_id, sources))
            case FoundPassages():
                with watch.stage("search"):
                    chunks, revisions = await self._find(tenant_id, sentences, sources, limit)
                    passages = _passages(chunks)
        with watch.stage("judge"):
            grounding = await self._judge.judge(text, passages, language, priority=Priority.BULK)
        return CheckedGrounding(grounding, revisions, watch.timings())

    async def _read(self, tenant_id: str, named: NamedChunks) -> list[Chunk]:
        """Return chunks in the order in which they are named."""
        try:
            (collection,) = await self._directory.get_collections(tenant_id, [named.collection_id])
        except NotFound as error:
            raise error.in_field("chunks.collection_id") from None
        stored = await self._chunks.read_chunks(collection, named.chunk_ids)
        found = {chunk.id: chunk for chunk in stored.chunks}
        documents = sorted({chunk.document_id for chunk in found.values()})
        visible = await self._visibility.visible_revisions(tenant_id, collection.uid, documents)
        chunks = []
        for chunk_id in named.chunk_ids:
            chunk = found.get(chunk_id)
            if chunk is None or visible.get(chunk.document_id) != chunk.document_revision:
                raise NotFound.for_resource("chunk", chunk_id)
            chunks.append(chunk)
        return chunks

    async def _find(
        self, tenant_id: str, sentences: Sequence[str], wanted: FoundPassages, limit: TimeLimit | None
    ) -> tuple[list[Chunk], dict[str, int]]:
        """Return what is found for any of the sentences, each chunk once, and the revisions searched."""
        requests = [
            RetrievalRequest(
                wanted.collection_ids,
                sentence[:_LONGEST_QUERY],
                top_k=wanted.per_sentence,
                filter=wanted.filter,
                candidate_count=max(wanted.per_sentence, _MIN_CANDIDATES),
                syntax=QuerySyntax.PLAIN,
            )
            for sentence in sentences
        ]
        results = await self._retrieval.retrieve_batch(tenant_id, requests, lambda _: _PATHS, limit=limit)
        chunks = {each.chunk.id: each.chunk for result in results for each in result.results}
        revisions: dict[str, int] = {}
        for result in results:
            for collection_id, revision in result.collection_revisions.items():
                revisions[collection_id] = min(revision, revisions.get(collection_id, revision))
        return list(chunks.values()), revisions


def _passages(chunks: Sequence[Chunk]) -> list[Passage]:
    return [Passage(index, chunk.text, title_of(chunk), chunk) for index, chunk in enumerate(chunks)]


def _sentences(text: str) -> list[str]:
    """Return the sentences of `text`. Raises `InvalidArgument` (`TOO_MANY_SENTENCES`)."""
    spans = split_sentences(text)
    if len(spans) > MAX_SENTENCES:
        error = InvalidArgument.for_field(
            "text",
            f"has {len(spans)} sentences, the maximum is {MAX_SENTENCES}: check it in parts",
            reason="TOO_MANY_SENTENCES",
        )
        error.metadata |= {"limit": str(MAX_SENTENCES), "sentence_count": str(len(spans))}
        raise error
    return [text[span.start : span.end] for span in spans]
