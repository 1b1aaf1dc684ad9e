"""Servers with one database between them, each with a queue and answers of its own in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import ingest_service_pb2 as pb
from rag_server.app import running_server
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.lease import Lease
from rag_server.metadata.leases import LeaseRepository
from tests import databases
from tests.faults.shared_database import two_settings
from tests.rag_client import RagClient, failure, next_of

COLLECTION = "birds"
TEXT = "The heron waits by the river."


async def test_server_that_starts_leaves_the_jobs_of_another_on_its_database_alone(
    tmp_path: Path, migrated_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.empty(migrated_postgres)
    opened, reached = asyncio.Event(), asyncio.Event()
    leases: list[Lease] = []
    acquire, embed = LeaseRepository.acquire, OnnxEmbedder.embed

    async def acquired(*arguments: Any, **options: Any) -> Lease | None:
        lease = await acquire(*arguments, **options)
        leases.extend([] if lease is None else [lease])
        return lease

    async def gated(embedder: OnnxEmbedder, texts: Sequence[str], **options: Any) -> Any:
        if TEXT in texts[0]:
            reached.set()
            await opened.wait()
        return await embed(embedder, texts, **options)

    monkeypatch.setattr(LeaseRepository, "acquire", acquired)
    monkeypatch.setattr(OnnxEmbedder, "embed", gated)
    here, there = two_settings(tmp_path, migrated_postgres)
    async with running_server(here) as running, RagClient(running.address) as client:
        await client.create_collection(COLLECTION)
        job = await client.submit(COLLECTION, TEXT)
        await reached.wait()
        held = leases[0]
        async with running_server(there):
            async with running.parts.database.snapshot() as tx:
                assert await tx.leases.find("default", job.id, held.token) is not None
            opened.set()
            assert (await client.end_of(job.id)).state == pb.JOB_STATE_SUCCEEDED
        assert leases == [held]
    databases.empty(migrated_postgres)


async def test_answer_that_another_server_writes_is_told_to_be_there(
    tmp_path: Path, migrated_postgres: str
) -> None:
    databases.empty(migrated_postgres)
    here, there = two_settings(tmp_path, migrated_postgres)
    request = generate_pb.StreamGenerateRequest(
        collection_ids=[COLLECTION], question="Where does the heron wait?", resume_window_ms=120_000
    )
    async with (
        running_server(here) as running,
        running_server(there) as other,
        RagClient(running.address) as one,
        RagClient(other.address) as two,
    ):
        await one.create_collection(COLLECTION)
        await one.ingest_text(COLLECTION, TEXT)
        call = one.generate.StreamGenerate(request)
        request.resume_cursor = (await next_of(call)).cursor
        call.cancel()
        refused = await failure(two.generate.StreamGenerate(request))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_ELSEWHERE")
        assert refused.retry_after_s is not None
        rest = [event async for event in one.generate.StreamGenerate(request)]
        assert "".join(event.delta.text for event in rest) == TEXT
        assert rest[-1].HasField("finished")
    databases.empty(migrated_postgres)
