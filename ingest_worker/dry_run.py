"""A dry run: fetch, parse and chunk, as a job does, and write nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from ingest_worker.chunk.registry import chunk_document
from ingest_worker.fetch import Fetcher
from ingest_worker.left_out import check_records
from ingest_worker.sandbox.protocol import DocumentParser
from rag_server.backends.protocols import Embedder
from rag_server.domain.collection import Collection
from rag_server.domain.document import NewDocument
from rag_server.domain.dry_run import DryRun
from rag_server.domain.records import Cutting, RecordMapping, wants_page_boxes
from rag_server.errors import ResourceExhausted

_BUSY_RETRY_S = 5.0


class IngestDryRunner:
    """Takes documents through the stages before embedding, a few at once."""

    def __init__(
        self,
        fetcher: Fetcher,
        parser: DocumentParser,
        embedder: Embedder,
        *,
        limit: int,
        max_document_bytes: int,
    ) -> None:
        """Work on `limit` documents at once; the parser should have as many processes."""
        self._fetcher = fetcher
        self._parser = parser
        self._embedder = embedder
        self._limit = limit
        self._max_document_bytes = max_document_bytes
        self._active = 0

    async def run(
        self, collection: Collection, document: NewDocument, cutting: Cutting, *, data: bytes, uri: str
    ) -> DryRun:
        """Return what a job would make of `data`, or of what is at `uri` where that is not empty.

        Raises what the stages raise, `ResourceExhausted` (`PARSERS_BUSY`, `DOCUMENT_TOO_LARGE`) and
        `FailedPrecondition` (`EMBEDDING_MODEL_MISMATCH`).
        """
        self._embedder.model.check_embeds(collection)
        if len(data) > self._max_document_bytes:
            raise ResourceExhausted(
                "DOCUMENT_TOO_LARGE",
                f"the document is larger than {self._max_document_bytes} bytes",
                metadata={"limit_bytes": str(self._max_document_bytes)},
            )
        with self._place():
            if uri:
                fetched = await self._fetcher.fetch(uri)
                data = fetched.data
                document = replace(
                    document,
                    media_type=document.media_type or fetched.media_type,
                    file_name=document.file_name or fetched.file_name,
                )
            media_type, parsed = await self._parser.parse(
                data,
                document.media_type,
                document.file_name,
                records=cutting if isinstance(cutting, RecordMapping) else None,
                page_boxes=wants_page_boxes(cutting),
            )
            check_records(parsed)
            drafts = await asyncio.to_thread(
                chunk_document, parsed, cutting, self._embedder.tokenizer, self._embedder.model
            )
            sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        return DryRun(
            document=document,
            sha256=sha256,
            size_bytes=len(data),
            media_type=media_type,
            parsed=parsed,
            title=document.title or parsed.title or PurePosixPath(document.file_name).name,
            drafts=tuple(drafts),
        )

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._active >= self._limit:
            raise ResourceExhausted(
                "PARSERS_BUSY",
                f"{self._limit} dry runs are under way already: come back later",
                metadata={"limit": str(self._limit)},
                retry_after_s=_BUSY_RETRY_S,
            )
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
