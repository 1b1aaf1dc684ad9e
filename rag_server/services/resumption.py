"""The protocol of uploads that can be resumed: open, show, go on, end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from rag.v1 import ingest_service_pb2 as pb
from rag_server.backends.protocols import StagedBlob
from rag_server.domain.upload import Upload
from rag_server.errors import InvalidArgument, NotFound
from rag_server.ingest.resumable import ResumableUploads
from rag_server.ingest.submit import Content, Submitter
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.metadata.uploads import check_offset
from rag_server.services.idempotency import Idempotency
from rag_server.services.trace_context import trace_parent_of
from rag_server.services.wire.collection import from_chunking
from rag_server.services.wire.document import from_spec
from rag_server.services.wire.job import to_job
from rag_server.services.wire.metadata import to_timestamp
from rag_server.validation.defaults import value_or_default


class Resumption:
    """Works on uploads for the servicer."""

    def __init__(
        self,
        database: Database,
        idempotency: Idempotency,
        submitter: Submitter,
        uploads: ResumableUploads,
        *,
        ttl_s: float,
    ) -> None:
        """`ttl_s`: how long an upload is kept after its last part, in seconds; shown, not enforced here."""
        self._database = database
        self._idempotency = idempotency
        self._submitter = submitter
        self._uploads = uploads
        self._ttl = timedelta(seconds=ttl_s)

    async def start(self, request: pb.StartUploadRequest) -> pb.StartUploadResponse:
        """Open an upload. Raises what `ResumableUploads.open` and `Idempotency.once` raise."""
        tenant_id = current_call.get().tenant_id

        async def start(tx: Transaction) -> pb.StartUploadResponse:
            upload = await self._uploads.open(
                tx,
                tenant_id,
                from_spec(request.collection_id, request.document),
                chunking=from_chunking(request.chunking) if request.HasField("chunking") else None,
                sha256=request.sha256,
            )
            return pb.StartUploadResponse(upload=self._to_upload(upload))

        return await self._idempotency.once(request, pb.StartUploadResponse, start)

    async def show(self, request: pb.GetUploadRequest) -> pb.GetUploadResponse:
        """Show an upload. Raises `NotFound`."""
        async with self._database.snapshot() as tx:
            upload = await tx.uploads.get(current_call.get().tenant_id, request.upload_id)
        return pb.GetUploadResponse(upload=self._to_upload(upload))

    async def cancel(self, request: pb.CancelUploadRequest) -> pb.CancelUploadResponse:
        """Give up an upload that has not ended. Raises `NotFound` and what `Idempotency.once` raises."""
        tenant_id = current_call.get().tenant_id

        async def cancel(tx: Transaction) -> pb.CancelUploadResponse:
            upload = await tx.uploads.lock(tenant_id, request.upload_id)
            if upload.answer is None:
                await tx.uploads.remove(tenant_id, upload.id)
            return pb.CancelUploadResponse(upload=self._to_upload(upload))

        return await self._idempotency.once(request, pb.CancelUploadResponse, cancel)

    async def go_on(self, resume: pb.UploadResume, pieces: AsyncIterator[bytes]) -> pb.UploadDocumentResponse:
        """Receive what is missing of an upload, and end it; one that has ended is answered as it was.

        Raises what `ResumableUploads.receive` and `Submitter.accept` raise, and `InvalidArgument`
        (`CHECKSUM_MISMATCH`): then the upload is given up, since its parts cannot become right any more.
        """
        tenant_id = current_call.get().tenant_id
        upload = await self._uploads.receive(
            tenant_id, resume.upload_id, value_or_default(resume, "offset"), pieces
        )
        if upload.answer is not None:
            return pb.UploadDocumentResponse.FromString(upload.answer)
        staged = await self._uploads.join(upload)
        try:
            if upload.sha256 not in {"", staged.sha256}:
                async with self._database.transaction() as tx:
                    await tx.uploads.remove(tenant_id, upload.id)
                raise InvalidArgument.for_field(
                    "sha256",
                    f"the {staged.size_bytes} bytes received have another digest than StartUpload said: "
                    "start another upload",
                    reason="CHECKSUM_MISMATCH",
                )
            async with self._database.transaction() as tx:
                return await self._end(tx, upload, staged)
        finally:
            await staged.discard()

    async def _end(self, tx: Transaction, upload: Upload, staged: StagedBlob) -> pb.UploadDocumentResponse:
        call = current_call.get()
        locked = await tx.uploads.lock(upload.tenant_id, upload.id)
        if locked.answer is not None:  # by another call, meanwhile
            return pb.UploadDocumentResponse.FromString(locked.answer)
        check_offset(locked, upload.offset)
        collection_id = upload.document.collection_id
        if (await tx.collections.get(upload.tenant_id, collection_id)).uid != upload.collection_uid:
            raise NotFound.for_resource("collection", collection_id)  # this one has only the same name
        job = await self._submitter.accept(
            tx,
            upload.tenant_id,
            upload.document,
            Content(staged),
            chunking=upload.chunking,
            request_id=call.request_id,
            trace_parent=trace_parent_of(call.context),
        )
        response = pb.UploadDocumentResponse(
            job=to_job(job), size_bytes=staged.size_bytes, sha256=staged.sha256
        )
        await tx.uploads.finish(upload.tenant_id, upload.id, response.SerializeToString())
        return response

    def _to_upload(self, upload: Upload) -> pb.Upload:
        shown = pb.Upload(
            id=upload.id,
            collection_id=upload.document.collection_id,
            offset=upload.offset,
            create_time=to_timestamp(upload.create_time),
            expire_time=to_timestamp(upload.update_time + self._ttl),
        )
        if upload.answer is not None:
            shown.job.CopyFrom(pb.UploadDocumentResponse.FromString(upload.answer).job)
        return shown
