"""The callers of benchmarks/generation.py, in a process of their own: prints what they saw as JSON."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import grpc

from rag.v1 import generate_service_pb2 as pb
from rag.v1 import generate_service_pb2_grpc as pb_grpc
from rag.v1 import options_pb2

QUESTION = "When does the grey heron wait by the river?"
COLLECTION = "birds"
BABBLE_TEMPERATURE = 2.0


def ask(stub: Any, *, tokens: int, temperature: float) -> Any:
    """Return the stream of one answer."""
    options = options_pb2.GenerationOptions(max_answer_tokens=tokens, temperature=temperature)
    request = pb.StreamGenerateRequest(collection_ids=[COLLECTION], question=QUESTION, generation=options)
    return stub.StreamGenerate(request, timeout=300)


async def first_word_s(stub: Any) -> float:
    """Return the seconds to the first word of an answer, which is read to its end."""
    start, first = time.perf_counter(), 0.0
    async for event in ask(stub, tokens=32, temperature=0.0):
        if event.HasField("delta") and not first:
            first = time.perf_counter() - start
    return first


async def tokens_per_s(stub: Any, streams: int, tokens: int) -> float:
    """Return the rate of all streams together."""

    async def one() -> int:
        count = 0
        async for event in ask(stub, tokens=tokens, temperature=BABBLE_TEMPERATURE):
            count = event.usage.answer_token_count or count
        return count

    start = time.perf_counter()
    counts = await asyncio.gather(*(one() for _ in range(streams)))
    return sum(counts) / (time.perf_counter() - start)


async def leave(stub: Any, callers: int) -> int:
    """Have callers cancel after a few events each; return how many did."""
    draw = random.Random(7)  # noqa: S311 - no secret

    async def one(events: int) -> None:
        call = ask(stub, tokens=3000, temperature=BABBLE_TEMPERATURE)
        for _ in range(events):
            await call.read()
        call.cancel()

    await asyncio.gather(*(one(draw.choice((0, 1, 2, 3, 6, 12))) for _ in range(callers)))
    return callers


async def main(address: str, what: str, *numbers: int) -> None:
    """Print one measurement."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        stub = pb_grpc.GenerateServiceStub(channel)  # type: ignore[no-untyped-call]
        match what:
            case "first":
                seen: Any = [await first_word_s(stub) for _ in range(numbers[0])]
            case "rate":
                seen = await tokens_per_s(stub, numbers[0], numbers[1])
            case _:
                seen = await leave(stub, numbers[0])
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
