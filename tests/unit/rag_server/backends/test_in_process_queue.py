from __future__ import annotations

import asyncio

import pytest

from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.protocols import JobRef
from rag_server.errors import ResourceExhausted

A, B = JobRef("acme", "a"), JobRef("acme", "b")


async def test_queue_gives_jobs_in_the_order_they_came() -> None:
    queue = InProcessJobQueue(10)
    await queue.publish(A)
    await queue.publish(B)
    assert [await queue.take(), await queue.take()] == [A, B]


async def test_queue_job_that_waits_already_is_not_added_again() -> None:
    queue = InProcessJobQueue(10)
    await queue.publish(A)
    await queue.publish(A)
    await queue.publish(JobRef("other", "a"))
    assert len(queue) == 2


async def test_queue_job_that_was_taken_can_be_published_again() -> None:
    queue = InProcessJobQueue(10)
    await queue.publish(A)
    await queue.take()
    await queue.publish(A)
    assert await queue.take() == A


async def test_queue_take_waits_for_a_job() -> None:
    queue = InProcessJobQueue(10)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    await queue.publish(A)
    assert await waiting == A


async def test_queue_cancelled_taker_takes_nothing() -> None:
    queue = InProcessJobQueue(10)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await queue.publish(A)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.wait_for(queue.take(), 30) == A


async def test_queue_each_job_goes_to_one_taker() -> None:
    queue = InProcessJobQueue(10)
    takers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await queue.publish(A)
    await queue.publish(B)
    assert {await each for each in takers} == {A, B}


async def test_queue_that_is_full_says_so_but_never_refuses_an_accepted_job() -> None:
    queue = InProcessJobQueue(1)
    queue.check_room()
    await queue.publish(A)
    with pytest.raises(ResourceExhausted) as caught:
        queue.check_room()
    assert caught.value.reason == "JOB_QUEUE_FULL"
    assert caught.value.metadata == {"limit": "1"}
    assert caught.value.is_retryable
    await queue.publish(B)
    assert len(queue) == 2
    await queue.take()
    await queue.take()
    queue.check_room()
