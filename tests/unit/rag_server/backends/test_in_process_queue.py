from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.testing.job_queue_suite import READY, JobQueueSuite, assert_nothing_comes, message, take


class TestInProcessJobQueue(JobQueueSuite):
    @pytest.fixture
    async def queue(self) -> AsyncIterator[InProcessJobQueue]:
        queue = InProcessJobQueue(ready=READY)
        yield queue
        await queue.close()


async def test_close_forgets_what_is_to_be_tried_again() -> None:
    queue = InProcessJobQueue()
    await queue.publish([message("a")])
    await (await take(queue)).retry(0.01)
    await queue.close()
    await asyncio.sleep(0.02)
    await assert_nothing_comes(queue)
