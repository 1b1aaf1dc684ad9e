"""A job from its bytes to a searchable document: fetch, parse, chunk, embed and write, publish.

Every step can be repeated: chunk ids follow from the document's revision, which the job was given when it was
accepted, so a second attempt writes the same rows again. Nothing is visible before the last step, and that
is one transaction.

What the visible revision of the document has already is not done again: the same content, handed in the same
way, makes no new revision, and chunks with the same text keep their vectors (see `reuse`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ingest_worker.cancelled import JobCancelled
from ingest_worker.chunk.registry import chunk_document
from ingest_worker.fetch import Fetcher
from ingest_worker.items.archive import ArchiveExpansion
from ingest_worker.lease import HeldLease
from ingest_worker.left_out import check_records
from ingest_worker.parse import faults
from ingest_worker.parse.sniff.archives import ZIP, is_archive
from ingest_worker.recipe import recipe_of
from ingest_worker.reuse import KnownVectors
from ingest_worker.sandbox.protocol import DocumentParser
from ingest_worker.standing import Standing
from rag_server.backends.protocols import BlobStore, ChunkStore, Embedder, Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk, ChunkDraft, MediaType, NewDocument, ParsedDocument, chunk_id
from rag_server.domain.job import SUCCESSES, Job, JobKind, JobProgress, JobState
from rag_server.domain.media_type_names import is_archive_type
from rag_server.domain.publication import Publication
from rag_server.domain.records import RecordMapping, wants_page_boxes
from rag_server.domain.revision import KEPT_REVISIONS, DocumentRevision
from rag_server.errors import InvalidArgument
from rag_server.failpoints import step
from rag_server.metadata.codecs import metadata_to_json
from rag_server.metadata.database import Database
from rag_server.text.analyzer import Analyzer


@dataclass(frozen=True, slots=True)
class _Content:
    data: bytes
    sha256: str
    document: NewDocument
    """As handed in; what the caller left open is as the server it was fetched from says."""


@dataclass(frozen=True, slots=True)
class IngestPipeline:
    """Runs one job at a time per call of `run`; holds no state of its own."""

    database: Database
    blobs: BlobStore
    chunks: ChunkStore
    embedder: Embedder
    fetcher: Fetcher
    parser: DocumentParser
    analyzer_for: Callable[[str], Analyzer]
    max_document_bytes: int
    batch_chunks: int
    kept_revisions: int = KEPT_REVISIONS
    archives: ArchiveExpansion | None = None
    """What is done with archives; None: they are not supported."""
    reads_scans: bool = False
    """Whether `parser` reads scanned pages."""
    docling: tuple[str, ...] = ()
    """Media types that `parser` has docling read."""

    async def run(self, job: Job, lease: HeldLease) -> Job:
        """Take `job`, which is FETCHING, to its end and return it; an archive, until it waits for its files.

        Raises what the stages raise, `JobCancelled`, and `LeaseLost`: then it is another's.
        """
        async with self.database.snapshot() as tx:
            collection = await tx.collections.of_job(job.tenant_id, job.id)
            visible = await tx.history.newest(
                job.tenant_id, collection.uid, job.document.document_id, collection_id=collection.id
            )
        self.embedder.model.check_embeds(collection)

        with step("fetch"):
            content = await self._fetch(job, lease)
        if job.kind is JobKind.ARCHIVE and self.archives is not None:  # begun anew, with items counted
            return await self.archives.run(job, lease, content.data)
        progress = JobProgress(size_bytes=len(content.data))
        standing = Standing(self.database, job, lease)

        await standing.enter(JobState.PARSING, progress)
        recipe = recipe_of(
            job.chunking, self.embedder.model, reads_scans=self.reads_scans, docling=self.docling
        )
        if visible is not None and _is_same(visible, content, recipe):
            async with lease.transaction() as tx:
                kept = await tx.documents.keep(job.tenant_id, job.id, visible.revision)
            if kept is not None:
                return kept
        with step("parse"):
            try:
                media_type, parsed = await self._parse(standing, content, progress)
            except InvalidArgument as error:
                if self.archives is None or not _is_archive(error):
                    raise
                return await self.archives.run(job, lease, content.data)
        progress = replace(progress, page_count=parsed.page_count, parsed_page_count=parsed.page_count)
        progress = await self._record_left_out(job, lease, parsed, progress)

        await standing.enter(JobState.CHUNKING, progress)
        drafts = await self._cut(standing, parsed, progress)
        token_count = sum(draft.token_count for draft in drafts)
        progress = replace(progress, chunk_count=len(drafts), token_count=token_count)

        await standing.enter(JobState.EMBEDDING, progress)
        title = job.document.title or parsed.title or PurePosixPath(content.document.file_name).name
        chunks = _to_chunks(job, collection, drafts, title, media_type)
        known = await KnownVectors.read(self.chunks, collection, visible)
        progress = await self._write(standing, collection, chunks, known, progress)

        await standing.enter(JobState.INDEXING, progress)
        publication = _describe(content, media_type, parsed, title, recipe, progress)
        with step("commit"):
            async with lease.transaction() as tx:
                with step("flip"):
                    published = await tx.documents.publish(
                        job.tenant_id, job.id, publication, kept_revisions=self.kept_revisions
                    )
                if published.state in SUCCESSES:
                    await tx.metadata_fields.learn(job.tenant_id, collection.uid, job.document.metadata)
                    if isinstance(job.chunking, RecordMapping):
                        await tx.metadata_fields.learn_types(
                            job.tenant_id, collection.uid, job.chunking.types, path="records.fields"
                        )
        return published

    async def _record_left_out(
        self, job: Job, lease: HeldLease, parsed: ParsedDocument, progress: JobProgress
    ) -> JobProgress:
        """Record which rows were left out. Raises `InvalidArgument` (`RECORDS_ALL_INVALID`): all of them."""
        records = parsed.records
        if records is None or not records.failed_count:
            return progress
        progress = replace(progress, failed_item_count=records.failed_count)
        async with lease.transaction() as tx:
            await tx.jobs.change(job.tenant_id, job.id, progress=progress, item_errors=records.errors)
        check_records(parsed)
        return progress

    async def _fetch(self, job: Job, lease: HeldLease) -> _Content:
        document = job.document
        if job.content_sha256:
            data = await self.blobs.read(job.tenant_id, job.content_sha256)
            return _Content(data, job.content_sha256, document)
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
            async with lease.transaction() as tx:
                await tx.blobs.add(job.tenant_id, staged.sha256, staged.size_bytes)
                await tx.jobs.change(job.tenant_id, job.id, content_sha256=staged.sha256, document=known)
                await staged.keep()
        finally:
            await staged.discard()
        return _Content(fetched.data, staged.sha256, known)

    async def _parse(
        self, standing: Standing, content: _Content, progress: JobProgress
    ) -> tuple[MediaType, ParsedDocument]:
        """Have the document read, record how many pages are done, and stop at once when nobody wants it."""
        job = standing.job
        pages = (0, 0)
        declared = content.document.media_type
        if is_archive_type(declared):
            if not is_archive(content.data):
                raise faults.mismatch(ZIP, "something else", "declared media type")
            declared = ""  # senders say so of the documents that are archives, too
        mapping = job.chunking if isinstance(job.chunking, RecordMapping) else None

        def on_pages(done: int, total: int) -> None:
            nonlocal pages
            pages = (done, total)

        parsing = asyncio.create_task(
            self.parser.parse(
                content.data,
                declared,
                content.document.file_name,
                on_pages=on_pages,
                records=mapping,
                page_boxes=wants_page_boxes(job.chunking),
            )
        )

        def so_far() -> JobProgress:
            done, total = pages
            return replace(progress, page_count=total, parsed_page_count=done) if total else progress

        return await standing.watch(JobState.PARSING, parsing, so_far)

    async def _cut(
        self, standing: Standing, parsed: ParsedDocument, progress: JobProgress
    ) -> list[ChunkDraft]:
        """Cut the document in a thread, which stops at its next chunk when nobody wants it any longer."""
        job = standing.job
        count = 0
        is_wanted = True

        def on_chunk() -> None:
            nonlocal count
            count += 1
            if not is_wanted:
                raise JobCancelled

        cutting = asyncio.create_task(
            asyncio.to_thread(
                chunk_document,
                parsed,
                job.chunking,
                self.embedder.tokenizer,
                self.embedder.model,
                on_chunk=on_chunk,
            )
        )
        try:
            return await standing.watch(
                JobState.CHUNKING, cutting, lambda: replace(progress, chunk_count=count or None)
            )
        finally:
            is_wanted = False

    async def _write(
        self,
        standing: Standing,
        collection: Collection,
        chunks: Sequence[Chunk],
        known: KnownVectors,
        progress: JobProgress,
    ) -> JobProgress:
        """Embed and store the chunks, batch by batch; a cancelled job stops after the batch at hand."""
        job, lease = standing.job, standing.lease
        analyzer = self.analyzer_for(collection.language)
        await self.chunks.ensure_collection(collection)
        # What an earlier attempt wrote before it broke, should it have cut the document differently. If that
        # attempt were not ours any more, this could be what its successor has published.
        await lease.ensure()
        await self.chunks.delete_document(
            job.tenant_id, collection.uid, job.document.document_id, revision=job.document_revision
        )
        for start in range(0, len(chunks), self.batch_chunks):
            batch = chunks[start : start + self.batch_chunks]
            texts = [chunk.text for chunk in batch]
            with step("embed"):
                vectors, reused = await self._embed(standing, known, texts, progress)
            lexemes = await asyncio.to_thread(lambda: list(map(analyzer.analyze, texts)))  # noqa: B023 - awaited
            await lease.ensure()
            with step("upsert"):
                await self.chunks.upsert(collection, batch, vectors, lexemes, dict(job.document.metadata))
            progress = replace(
                progress,
                embedded_chunk_count=progress.embedded_chunk_count + len(batch) - reused,
                indexed_chunk_count=progress.indexed_chunk_count + len(batch),
                reused_chunk_count=progress.reused_chunk_count + reused,
            )
            await standing.enter(JobState.EMBEDDING, progress)
        return progress

    async def _embed(
        self, standing: Standing, known: KnownVectors, texts: Sequence[str], progress: JobProgress
    ) -> tuple[Embeddings, int]:
        """Return what `KnownVectors.embed` does. A batch takes long where others' queries come first."""
        embedding = asyncio.create_task(known.embed(self.embedder, texts))
        return await standing.watch(JobState.EMBEDDING, embedding, lambda: progress)


def _is_same(visible: DocumentRevision, content: _Content, recipe: str) -> bool:
    """Whether ingesting `content` would make the visible revision again."""
    before, now = visible.document, content.document
    return (
        (visible.sha256, visible.recipe) == (content.sha256, recipe)
        and replace(before, metadata={}) == replace(now, metadata={})
        # with their types, since 1 == True == 1.0
        and metadata_to_json(before.metadata) == metadata_to_json(now.metadata)
    )


def _is_archive(refusal: InvalidArgument) -> bool:
    """Whether the parser refused a document because it is an archive of others."""
    detected = refusal.metadata.get("detected_media_type")
    return refusal.reason == "UNSUPPORTED_MEDIA_TYPE" and detected == ZIP


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
            metadata=draft.metadata,
            boxes=draft.boxes,
        )
        for ordinal, draft in enumerate(drafts)
    ]


def _describe(
    content: _Content,
    media_type: MediaType,
    parsed: ParsedDocument,
    title: str,
    recipe: str,
    progress: JobProgress,
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
        reused_chunk_count=progress.reused_chunk_count,
        failed_item_count=progress.failed_item_count,
        # without one the same content is read again when it comes again, and what is wrong is told again
        recipe="" if progress.failed_item_count else recipe,
    )
