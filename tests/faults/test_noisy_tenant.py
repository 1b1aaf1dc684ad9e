"""L4: one tenant hands in hundreds of documents; those of nine others are not kept waiting by them.

Counted, not timed: how many of the noisy tenant's jobs end before those of the others is a matter of turns,
however fast the machine is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rag_server.app import Parts, running_server
from rag_server.backends.onnx.embedder import DEFAULT_MODEL
from rag_server.domain.collection import NewCollection
from rag_server.domain.document import NewDocument
from rag_server.domain.job import FINAL_STATES, JobState
from rag_server.ingest.submit import Content, Submitter
from tests.conftest import make_settings
from tests.faults.distributed import PATIENCE_S, site_in

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

NOISY, QUIET = "noisy", [f"quiet-{number}" for number in range(9)]
NOISE = 200
READY, CONCURRENCY = 8, 2
AHEAD = READY + 2 * CONCURRENCY
"""Of the noisy tenant's jobs, those that are in the queue or at work before the others hand in theirs."""
TURNS = 3 * len(QUIET)
"""Jobs of the noisy tenant that may have their turn between those of the others, generously."""


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def submit(parts: Parts, tenant_id: str, count: int) -> None:
    """Hand in documents for a tenant: as the servicer does, which has no tenants to tell apart yet."""
    async with parts.database.transaction() as tx:
        await tx.collections.create(
            tenant_id, NewCollection("books"), embedding_model=DEFAULT_MODEL, dimension=384
        )
    submitter = Submitter(10_000)
    for number in range(count):
        text = f"{tenant_id} keeps {number} green bottles."
        staged = await parts.blobs.stage(tenant_id, one(text.encode()), limit_bytes=1000)
        async with parts.database.transaction() as tx:
            document = NewDocument("books", f"doc-{number}", file_name="a.txt")
            await submitter.accept(tx, tenant_id, document, Content(staged), chunking=None, request_id="")


async def ended(parts: Parts, tenant_id: str) -> list[JobState]:
    """Return the states of a tenant's jobs that have ended."""
    async with parts.database.snapshot() as tx:
        jobs = await tx.jobs.list(tenant_id, limit=NOISE + 1)
    return [job.state for job in jobs if job.state in FINAL_STATES]


async def noise_before_the_quiet_are_served(parts: Parts) -> int:
    """Return how many of the noisy tenant's jobs end between the others' handing in and their last end."""
    await submit(parts, NOISY, NOISE)
    before = len(await ended(parts, NOISY))
    assert NOISE - before > AHEAD + TURNS, "too few are left to make noise"
    await asyncio.gather(*(submit(parts, tenant_id, 1) for tenant_id in QUIET))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            states = [await ended(parts, tenant_id) for tenant_id in QUIET]
            if all(states):
                break
            await asyncio.sleep(0.02)
    assert states == [[JobState.SUCCEEDED]] * len(QUIET)
    return len(await ended(parts, NOISY)) - before


async def test_noisy_tenant_embedded_server_serves_the_others_by_turns(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, ingest={"concurrency": CONCURRENCY}, queue={"ready_jobs": READY})
    async with running_server(settings) as running:
        assert await noise_before_the_quiet_are_served(running.parts) <= AHEAD + TURNS


async def test_noisy_tenant_workers_on_rabbitmq_serve_the_others_by_turns(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        changes = {"queue": {"ready_jobs": READY}, "ingest": {"concurrency": CONCURRENCY}}
        running, _ = await site.server(**changes)
        await site.worker(**changes)
        assert await noise_before_the_quiet_are_served(running.parts) <= AHEAD + TURNS
        await site.stack.aclose()
