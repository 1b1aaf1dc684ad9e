"""docling in a server: which documents it reads, and what becomes of them when the setting changes."""

from __future__ import annotations

import pytest

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.app import running_server
from tests.conftest import SettingsFactory
from tests.rag_client import RagClient

pytestmark = pytest.mark.asyncio(loop_scope="session")
HTML = b"<html><body><h1>The hive</h1><p>One <b>queen</b> lays all eggs in the hive.</p></body></html>"


async def ingest(client: RagClient, data: bytes, name: str) -> tuple[pb.Job, list[str]]:
    """Return the job at its end, and the texts of the document's chunks."""
    document = pb.DocumentSpec(document_id=name, file_name=name)
    request = pb.IngestDocumentRequest(collection_id="hives", document=document, data=data)
    job = await client.end_of((await client.ingest.IngestDocument(request)).job.id)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    listed = await client.documents.ListChunks(
        document_pb.ListChunksRequest(collection_id="hives", document_id=name)
    )
    return job, [chunk.text for chunk in listed.chunks]


async def test_documents_are_read_anew_once_docling_takes_over_a_format(
    settings: SettingsFactory,
) -> None:
    async with running_server(settings()) as running, RagClient(running.address) as client:
        await client.create_collection("hives")
        _, before = await ingest(client, HTML, "hive.html")
    docling = {"docling": "html", "wall_s": 90.0, "cpu_s": 60.0}
    async with running_server(settings(parser=docling)) as running, RagClient(running.address) as client:
        job, after = await ingest(client, HTML, "hive.html")
        assert not job.progress.is_unchanged
        assert job.document_revision == 2
        assert after != before
        assert "One **queen** lays" in after[0]
        again, _ = await ingest(client, HTML, "hive.html")
        assert again.progress.is_unchanged
        _, plain = await ingest(client, b"Some <b>plain</b> text about bees.", "plain.txt")
        assert plain == ["Some <b>plain</b> text about bees."]
