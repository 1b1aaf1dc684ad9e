"""SIGKILL in the middle of an upload that can be resumed: parts that were safe stay so, the rest goes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.testing.server_process import ServerStarter
from tests.rag_client import RagClient

COLLECTION = "killed"
PART = 4096
DATA = b"".join(b"Line %d says that the heron waits by the river.\n" % number for number in range(2000))
SETTINGS = {"ingest__upload_part_bytes": PART}
KILLS = 2


async def pieces(upload: pb.Upload, *, slow: bool) -> AsyncIterator[pb.UploadDocumentRequest]:
    yield pb.UploadDocumentRequest(resume=pb.UploadResume(upload_id=upload.id, offset=upload.offset))
    for start in range(upload.offset, len(DATA), 1000):
        yield pb.UploadDocumentRequest(data=DATA[start : start + 1000])
        if slow:
            await asyncio.sleep(0.005)


async def shown(client: RagClient, upload_id: str) -> pb.Upload:
    return (await client.ingest.GetUpload(pb.GetUploadRequest(upload_id=upload_id))).upload


async def test_upload_goes_on_after_its_server_was_killed(
    start_server: ServerStarter, tmp_path: Path
) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    process = start_server(**SETTINGS)
    async with RagClient(process.address) as client:
        await client.create_collection(COLLECTION)
        request = pb.StartUploadRequest(
            collection_id=COLLECTION, document=pb.DocumentSpec(document_id="doc"), sha256=digest
        )
        upload = (await client.ingest.StartUpload(request)).upload
    for _ in range(KILLS):
        async with RagClient(process.address) as client:
            reached = upload.offset
            sending = asyncio.ensure_future(client.ingest.UploadDocument(pieces(upload, slow=True)))
            async with asyncio.timeout(30):
                while (await shown(client, upload.id)).offset < reached + 2 * PART:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            process.kill()
            with suppress(grpc.aio.AioRpcError):
                await sending
        process = start_server(**SETTINGS)
        async with RagClient(process.address) as client:
            upload = await shown(client, upload.id)
            assert reached + 2 * PART <= upload.offset < len(DATA)
    async with RagClient(process.address) as client:
        response = await client.ingest.UploadDocument(pieces(upload, slow=False))
        assert response.sha256 == digest
        assert (await client.end_of(response.job.id)).state == pb.JOB_STATE_SUCCEEDED
        download = client.documents.DownloadDocument(
            document_pb.DownloadDocumentRequest(collection_id=COLLECTION, document_id="doc")
        )
        assert b"".join([each.data async for each in download]) == DATA
    assert process.stop() == 0
    assert list((tmp_path / "data" / "blobs" / ".staging").iterdir()) == []
