from __future__ import annotations

import asyncio

import pytest

from rag_server.backends.milvus.fair_lock import FairLock


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_readers_share_and_a_writer_waits_for_all_of_them() -> None:
    lock = FairLock()
    await lock.acquire(exclusive=False)
    await lock.acquire(exclusive=False)
    writer = asyncio.create_task(lock.acquire(exclusive=True))
    await settle()
    assert not writer.done()
    lock.release(exclusive=False)
    await settle()
    assert not writer.done()
    lock.release(exclusive=False)
    await settle()
    assert writer.done()


async def test_later_reader_does_not_overtake_a_waiting_writer() -> None:
    lock = FairLock()
    await lock.acquire(exclusive=False)
    writer = asyncio.create_task(lock.acquire(exclusive=True))
    await settle()
    reader = asyncio.create_task(lock.acquire(exclusive=False))
    await settle()
    assert not reader.done()
    lock.release(exclusive=False)
    await settle()
    assert writer.done()
    assert not reader.done()
    lock.release(exclusive=True)
    await settle()
    assert reader.done()


async def test_cancelled_writer_lets_the_readers_behind_it_pass() -> None:
    lock = FairLock()
    await lock.acquire(exclusive=False)
    writer = asyncio.create_task(lock.acquire(exclusive=True))
    await settle()
    reader = asyncio.create_task(lock.acquire(exclusive=False))
    await settle()
    writer.cancel()
    await settle()
    assert writer.cancelled()
    assert reader.done()


@pytest.mark.parametrize("exclusive", [True, False])
async def test_waiter_cancelled_just_after_its_grant_hands_it_on(exclusive: bool) -> None:
    lock = FairLock()
    await lock.acquire(exclusive=True)
    waiter = asyncio.create_task(lock.acquire(exclusive=exclusive))
    await settle()
    lock.release(exclusive=True)  # grants, but the waiter has not run yet
    waiter.cancel()
    await settle()
    assert waiter.cancelled()
    assert lock.is_idle


async def test_waiter_cancelled_just_before_a_release_is_skipped() -> None:
    lock = FairLock()
    await lock.acquire(exclusive=True)
    waiter = asyncio.create_task(lock.acquire(exclusive=True))
    await settle()
    waiter.cancel()
    lock.release(exclusive=True)
    await settle()
    assert waiter.cancelled()
    assert lock.is_idle
