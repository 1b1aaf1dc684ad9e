"""The protocol of DownloadDocument: one start, then bytes, whose digest is checked on the way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from rag.v1 import document_service_pb2 as pb
from rag_server.backends.protocols import BlobStore
from rag_server.domain.revision import DocumentRevision
from rag_server.errors import Internal


async def download(
    blobs: BlobStore, tenant_id: str, revision: DocumentRevision
) -> AsyncGenerator[pb.DownloadDocumentResponse, None]:
    """Yield the messages of a download; memory stays that of one piece.

    Raises `NotFound` (`BLOB_NOT_FOUND`), and `Internal` (`BLOB_DAMAGED`) after the last piece when the bytes
    were not those of the revision: only a stream that ends well is one.
    """
    digest = hashlib.sha256()
    async with aclosing(blobs.stream(tenant_id, revision.sha256)) as pieces:
        yield pb.DownloadDocumentResponse(
            start=pb.DownloadStart(
                revision=revision.revision,
                media_type=revision.media_type,
                file_name=revision.document.file_name,
                size_bytes=revision.size_bytes,
                sha256=revision.sha256,
            )
        )
        async for piece in pieces:
            await asyncio.to_thread(digest.update, piece)
            yield pb.DownloadDocumentResponse(data=piece)
    if digest.hexdigest() != revision.sha256:
        raise Internal(
            "BLOB_DAMAGED",
            "the stored bytes of the document are damaged: ingest it again",
            metadata={"sha256": revision.sha256},
        )
