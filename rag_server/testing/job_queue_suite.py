"""What every `JobQueue` must do. Subclass it and provide the fixture `queue`, empty, with room for `READY`.

class TestInProcessJobQueue(JobQueueSuite):
    @pytest.fixture
    async def queue(self): ...
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import pytest

from rag_server.backends.protocols import Delivery, JobMessage, JobQueue
from rag_server.domain.priority import Priority

READY = 8
"""Messages of a priority that the queue under test has room for."""
PATIENCE_S = 30.0
NOT_COMING_S = 0.3
TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class HoldingQueue(JobQueue, Protocol):
    """A queue that can say how much it has at hand."""

    @property
    def held(self) -> int: ...


def message(name: str, priority: Priority = Priority.INTERACTIVE, tenant_id: str = "acme") -> JobMessage:
    """Return a message for the job `name`."""
    return JobMessage(tenant_id, name, priority, TRACE_PARENT)


async def take(queue: JobQueue) -> Delivery:
    """Take a message that has to come."""
    async with asyncio.timeout(PATIENCE_S):
        return await queue.take()


async def drain(queue: JobQueue, count: int) -> list[str]:
    """Take and acknowledge messages; return their jobs."""
    jobs = []
    for _ in range(count):
        delivery = await take(queue)
        jobs.append(delivery.message.job_id)
        await delivery.ack()
    return jobs


async def assert_nothing_comes(queue: JobQueue) -> None:
    """Fail when a message comes."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(NOT_COMING_S):
            await queue.take()


async def hold(queue: HoldingQueue, count: int) -> None:
    """Wait until the queue has so many messages at hand."""
    async with asyncio.timeout(PATIENCE_S):
        while queue.held < count:  # noqa: ASYNC110 - the queue has no event for it
            await asyncio.sleep(0.01)


class JobQueueSuite:
    """The conformance suite."""

    async def test_message_arrives_as_it_was_published(self, queue: HoldingQueue) -> None:
        sent = [message("a"), message("b", Priority.BULK, "globex")]
        assert list(await queue.publish(sent)) == sent
        taken = [await take(queue) for _ in sent]
        assert {each.message for each in taken} == set(sent)
        for each in taken:
            await each.ack()
        await assert_nothing_comes(queue)

    async def test_messages_of_a_priority_leave_in_the_order_they_came(self, queue: HoldingQueue) -> None:
        names = [f"j{number}" for number in range(6)]
        for name in names:
            await queue.publish([message(name)])
        assert await drain(queue, 6) == names

    async def test_interactive_goes_before_bulk(self, queue: HoldingQueue) -> None:
        await queue.publish([message("first")])
        assert await drain(queue, 1) == ["first"]
        bulk = [message(f"b{number}", Priority.BULK) for number in range(2)]
        await queue.publish(bulk)
        await hold(queue, 2)
        await queue.publish([message("i0"), message("i1")])
        await hold(queue, 4)
        assert await drain(queue, 4) == ["i0", "i1", "b0", "b1"]

    async def test_each_message_goes_to_one_taker(self, queue: HoldingQueue) -> None:
        takers = [asyncio.create_task(take(queue)) for _ in range(3)]
        await queue.publish([message("a"), message("b"), message("c")])
        taken = [await taker for taker in takers]
        assert sorted(each.message.job_id for each in taken) == ["a", "b", "c"]
        for each in taken:
            await each.ack()

    async def test_cancelled_taker_takes_nothing(self, queue: HoldingQueue) -> None:
        await assert_nothing_comes(queue)
        taker = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        taker.cancel()
        await queue.publish([message("a")])
        with pytest.raises(asyncio.CancelledError):
            await taker
        assert await drain(queue, 1) == ["a"]

    async def test_retry_brings_the_message_back_after_the_delay(self, queue: HoldingQueue) -> None:
        await queue.publish([message("again", Priority.BULK), message("other", Priority.BULK)])
        delivery = await take(queue)
        assert delivery.message.job_id == "again"
        start = time.monotonic()
        await delivery.retry(0.5)
        assert await drain(queue, 1) == ["other"]  # nothing waits for it
        back = await take(queue)
        assert back.message == delivery.message
        assert 0.4 < time.monotonic() - start < PATIENCE_S  # noqa: PLR2004 - not before, but for the clock's steps
        await back.ack()
        await assert_nothing_comes(queue)

    async def test_retry_at_once_brings_the_message_back(self, queue: HoldingQueue) -> None:
        await queue.publish([message("a")])
        await (await take(queue)).retry(0.0)
        assert await drain(queue, 1) == ["a"]

    async def test_dead_letter_comes_out_at_the_other_end(self, queue: HoldingQueue) -> None:
        await queue.publish([message("bad"), message("good")])
        bad = await take(queue)
        await bad.dead_letter()
        assert await drain(queue, 1) == ["good"]
        async with asyncio.timeout(PATIENCE_S):
            dead = await queue.take_dead()
        assert dead.message == message("bad")
        await dead.ack()
        await assert_nothing_comes(queue)

    async def test_room_is_what_is_left_of_a_priority(self, queue: HoldingQueue) -> None:
        assert await queue.room(Priority.BULK) == READY
        await queue.publish([message(f"j{number}", Priority.BULK) for number in range(READY + 2)])
        await self.until_room(queue, Priority.BULK, 0)
        assert await queue.room(Priority.INTERACTIVE) == READY
        assert len(await drain(queue, READY + 2)) == READY + 2
        await self.until_room(queue, Priority.BULK, READY)

    async def test_publish_nothing_does_nothing(self, queue: HoldingQueue) -> None:
        assert list(await queue.publish([])) == []

    async def test_check_of_a_queue_that_works_raises_nothing(self, queue: HoldingQueue) -> None:
        await queue.check()

    async def until_room(self, queue: JobQueue, priority: Priority, expected: int) -> None:
        """Wait until the queue has counted what came and went."""
        async with asyncio.timeout(PATIENCE_S):
            while await queue.room(priority) != expected:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
