"""A job from its bytes to a searchable document: fetch, parse, chunk, embed and write, publish.

Every step can be repeated: chunk ids follow from the document's revision, which the job was given when it was
accepted, so a second attempt writes the same rows again. Nothing is visible before the last step, and that
is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ingest_worker.chunk.registry import chunk_document
from ingest_worker.fetch import Fetcher
from ingest_worker.parse.detect import detect_media_type
from ingest_worker.parse.registry import parse_document
from rag_server.backends.protocols import BlobStore, ChunkStore, Embedder, Priority
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk, ChunkDraft, MediaType, ParsedDocument, chunk_id
from rag_server.domain.job import Job, JobProgress, JobState
from rag_server.domain.publication import Publication
from rag_server.metadata.database import Database
from rag_server.text.analyzer import Analyzer


class JobCancelled(Exception):
    """Somebody asked for the job to stop."""


@dataclass(frozen=True, slots=True)
class _Content:
    data: bytes
    sha256: str
    declared_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class IngestPipeline:
    """Runs one job at a time per call of `run`; holds no state of its own."""

    database: Database
    blobs: BlobStore
    chunks: ChunkStore
    embedder: Embedder
    fetcher: Fetcher
    analyzer_for: Callable[[str], Analyzer]
    max_document_bytes: int
    batch_chunks: int

    async def run(self, job: Job) -> Job:
        """Take `job`, which is FETCHING, to its end and return it.

        Raises what the stages raise, and `JobCancelled`.
        """
        async with self.database.snapshot() as tx:
            collection = await tx.collections.of_job(job.tenant_id, job.id)
        self.embedder.model.check_embeds(collection)

        content = await self._fetch(job)
        progress = JobProgress(size_bytes=len(content.data))

        await self._enter(job, JobState.PARSING, progress)
        media_type = await asyncio.to_thread(
            detect_media_type, content.data, content.declared_type, content.file_name
        )
        parsed = await asyncio.to_thread(parse_document, content.data, media_type)
        progress = replace(progress, page_count=parsed.page_count)

        await self._enter(job, JobState.CHUNKING, progress)
        drafts = await asyncio.to_thread(
            chunk_document, parsed, job.chunking, self.embedder.tokenizer, self.embedder.model
        )
        token_count = sum(draft.token_count for draft in drafts)
        progress = replace(progress, chunk_count=len(drafts), token_count=token_count)

        await self._enter(job, JobState.EMBEDDING, progress)
        title = job.document.title or parsed.title or PurePosixPath(content.file_name).name
        chunks = _to_chunks(job, collection, drafts, title, media_type)
        progress = await self._write(job, collection, chunks, progress)

        await self._enter(job, JobState.INDEXING, progress)
        publication = _describe(content, media_type, parsed, title, progress)
        async with self.database.transaction() as tx:
            published = await tx.documents.publish(job.tenant_id, job.id, publication)
            if published.state is JobState.SUCCEEDED:
                await tx.metadata_fields.learn(job.tenant_id, collection.uid, job.document.metadata)
            return published

    async def _enter(self, job: Job, state: JobState, progress: JobProgress) -> None:
        """Record where the job stands. Raises `JobCancelled`: each call is a point where a job can stop."""
        async with self.database.transaction() as tx:
            changed = await tx.jobs.change(job.tenant_id, job.id, state=state, progress=progress)
        if changed.cancel_requested:
            raise JobCancelled

    async def _fetch(self, job: Job) -> _Content:
        document = job.document
        if job.content_sha256:
            data = await self.blobs.read(job.tenant_id, job.content_sha256)
            return _Content(data, job.content_sha256, document.media_type, document.file_name)
        fetched = await self.fetcher.fetch(job.fetch_uri)
        # Recorded with the bytes: a second attempt has to take them for the same format as the first.
        known = replace(
            document,
            media_type=document.media_type or fetched.media_type,
            file_name=document.file_name or fetched.file_name,
        )
        staged = await self.blobs.stage(
            job.tenant_id, _whole(fetched.data), limit_bytes=self.max_document_bytes
        )
        try:
            async with self.database.transaction() as tx:
                await tx.blobs.add(job.tenant_id, staged.sha256, staged.size_bytes)
                await tx.jobs.change(job.tenant_id, job.id, content_sha256=staged.sha256, document=known)
                await staged.keep()
        finally:
            await staged.discard()
        return _Content(fetched.data, staged.sha256, known.media_type, known.file_name)

    async def _write(
        self, job: Job, collection: Collection, chunks: Sequence[Chunk], progress: JobProgress
    ) -> JobProgress:
        """Embed and store the chunks, batch by batch; a cancelled job stops after the batch at hand."""
        analyzer = self.analyzer_for(collection.language)
        await self.chunks.ensure_collection(collection)
        # What an earlier attempt wrote before it broke, should it have cut the document differently.
        await self.chunks.delete_document(
            job.tenant_id, collection.uid, job.document.document_id, revision=job.document_revision
        )
        for start in range(0, len(chunks), self.batch_chunks):
            batch = chunks[start : start + self.batch_chunks]
            texts = [chunk.text for chunk in batch]
            vectors = await self.embedder.embed(texts, priority=Priority.BULK)
            lexemes = await asyncio.to_thread(lambda: list(map(analyzer.analyze, texts)))  # noqa: B023 - awaited
            await self.chunks.upsert(collection, batch, vectors, lexemes, dict(job.document.metadata))
            done = progress.indexed_chunk_count + len(batch)
            progress = replace(progress, embedded_chunk_count=done, indexed_chunk_count=done)
            await self._enter(job, JobState.EMBEDDING, progress)
        return progress


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _to_chunks(
    job: Job, collection: Collection, drafts: Sequence[ChunkDraft], title: str, media_type: MediaType
) -> list[Chunk]:
    tenant_id, revision, document = job.tenant_id, job.document_revision, job.document
    return [
        Chunk(
            id=chunk_id(tenant_id, collection.uid, document.document_id, revision, ordinal),
            tenant_id=tenant_id,
            collection_id=collection.id,
            document_id=document.document_id,
            document_revision=revision,
            ordinal=ordinal,
            text=draft.text,
            span=draft.span,
            heading_path=draft.heading_path,
            token_count=draft.token_count,
            page_start=draft.page_start,
            page_end=draft.page_end,
            title=title,
            source_uri=document.source_uri,
            media_type=media_type,
        )
        for ordinal, draft in enumerate(drafts)
    ]


def _describe(
    content: _Content, media_type: MediaType, parsed: ParsedDocument, title: str, progress: JobProgress
) -> Publication:
    return Publication(
        title=title,
        media_type=media_type,
        sha256=content.sha256,
        size_bytes=len(content.data),
        language=parsed.language,
        chunk_count=progress.chunk_count or 0,
        token_count=progress.token_count or 0,
        page_count=parsed.page_count,
    )
