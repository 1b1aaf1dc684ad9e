from __future__ import annotations

import asyncio

import pytest

from rag_server.backends.vllm.pace import PacedStreams, pause_s, tokens_together


def test_pause_of_a_stream_alone_is_none() -> None:
    assert pause_s(1, 0.0) == 0.0


def test_pause_grows_with_the_streams_and_ends_somewhere() -> None:
    pauses = [pause_s(streams, 0.0) for streams in (2, 16, 32, 1_000, 10_000)]
    assert pauses == sorted(pauses)
    assert pauses[0] > 0
    assert pauses[-1] == pauses[-2] <= 0.2


@pytest.mark.parametrize("streams", [2, 32, 1_000])
def test_pause_counts_the_time_since_the_stream_was_read(streams: int) -> None:
    whole = pause_s(streams, 0.0)
    assert pause_s(streams, whole / 4) == pytest.approx(whole * 3 / 4)
    assert pause_s(streams, 1.0) == 0.0


@pytest.mark.parametrize("step_s", [None, 0.0, 0.001, 0.05])
def test_tokens_of_a_stream_alone_come_one_by_one(step_s: float | None) -> None:
    assert tokens_together(1, step_s) == 1


def test_tokens_come_together_where_streams_are_many_and_the_engine_is_quick() -> None:
    assert [tokens_together(streams, 0.002) for streams in (2, 32, 10_000)] == [6, 8, 8]
    assert tokens_together(32, 0.05) == 3
    assert tokens_together(32, 1.0) == 1
    assert tokens_together(32, None) == 1  # nobody knows how quick it is


async def test_no_pause_gives_nobody_else_a_turn() -> None:
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "other")
    await PacedStreams().begin("a").pause(0.0)
    assert turns == []


async def test_pause_ends_when_the_rest_of_the_stream_is_there() -> None:
    streams = PacedStreams()
    stream, other = streams.begin("a"), streams.begin("b")
    pausing, others = (asyncio.create_task(each.pause(3600)) for each in (stream, other))
    await asyncio.sleep(0)
    streams.end("a")
    async with asyncio.timeout(10):
        await pausing
        await stream.pause(3600)
    assert not others.done()
    others.cancel()


async def test_pause_ends_by_itself() -> None:
    async with asyncio.timeout(10):
        await PacedStreams().begin("a").pause(0.001)


async def test_streams_that_nobody_reads_are_forgotten() -> None:
    streams = PacedStreams()
    streams.begin("a")
    streams.end("a")
    streams.end("unknown")
    assert not len(streams._streams)
