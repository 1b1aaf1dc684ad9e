"""vLLM behind the service beside vLLM called directly, in one run: the same engine, the same prompt.

    python -m benchmarks.generation [MODEL] [--window TOKENS] [--rounds N] [--json]

MODEL is a folder or a name; without it a tiny model is made, with which all that the service adds shows most.
Callers are in a process of their own. Rates are compared within a round: a machine that is shared changes its
speed from one to the next. Ends with status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.generation_client import BABBLE_TEMPERATURE, COLLECTION
from rag_server.app import RunningServer, running_server
from rag_server.config import LogSettings, Settings
from rag_server.logs import configure_logs
from rag_server.process import keep_what_started
from rag_server.testing.tiny_llama import make_tiny_llama
from tests.rag_client import RagClient

TEXT = "The grey heron waits by the river at dawn. It eats small fish and frogs. " * 3
STREAMS, TOKENS, CALLERS = 32, 1024, 500
FIRST_TARGET_MS, RATE_TARGET, IDLE_TARGET_S = 5.0, 0.95, 1.0
_IDLE_LIMIT_S = 60.0


def settings_of(folder: Path, model: str, window_tokens: int) -> Settings:
    """Return the settings of a server with one engine."""
    from demo.vllm import CPU_CACHE_BYTES, is_for_cpu

    here: dict[str, Any] = {"kind": "vllm", "max_sequences": 64}
    if is_for_cpu():
        here |= {"kv_cache_bytes": CPU_CACHE_BYTES, "enforce_eager": True, "cpu_threads": 1}
    served = {"provider": "here", "id": model, "window_tokens": window_tokens, "permits": 64, "queue": 1000}
    return Settings.model_validate(
        {
            "server": {"host": "127.0.0.1", "port": 0, "max_concurrent_calls": 1000},
            "storage": {"data_dir": folder / "data"},
            "models": {
                "providers": {"here": here},
                "models": {"model": served},
                "aliases": {"default": {"model": 1}},
            },
        }
    )


class Direct:
    """AsyncLLM of the running server, called as its own users call it."""

    def __init__(self, generator: Any) -> None:
        self._engine = generator._engine  # noqa: SLF001 - this is about what lies between
        self._llm = self._engine._llm  # noqa: SLF001
        self.prompt: Sequence[int] = ()
        """Of the last answer that the service asked for."""
        original = self._engine.stream

        def recording(tokens: Sequence[int], sampling: Any) -> Any:
            self.prompt = tokens
            return original(tokens, sampling)

        self._engine.stream = recording

    async def answer(self, *, tokens: int, temperature: float) -> tuple[float, int]:
        """Return the seconds to the first piece of an answer, and its tokens."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            max_tokens=tokens, temperature=temperature, output_kind=RequestOutputKind.DELTA
        )
        start, first, count = time.perf_counter(), 0.0, 0
        async for output in self._llm.generate(tokens_input(list(self.prompt)), sampling, uuid.uuid4().hex):
            first = first or time.perf_counter() - start
            count += len(output.outputs[0].token_ids)
        return first, count

    async def tokens_per_s(self, streams: int, tokens: int) -> float:
        """Return the rate of all streams together."""
        start = time.perf_counter()
        answers = (self.answer(tokens=tokens, temperature=BABBLE_TEMPERATURE) for _ in range(streams))
        counts = [count for _, count in await asyncio.gather(*answers)]
        return sum(counts) / (time.perf_counter() - start)


async def called(address: str, what: str, *numbers: int) -> Any:
    """Return what callers in another process saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.generation_client",
        address,
        what,
        *map(str, numbers),
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    return json.loads(shown)


async def _rates(address: str, direct: Direct, *, ours_first: bool) -> tuple[float, float]:
    """Return the tokens per second over gRPC and directly, one right after the other."""
    if ours_first:
        return await called(address, "rate", STREAMS, TOKENS), await direct.tokens_per_s(STREAMS, TOKENS)
    theirs = await direct.tokens_per_s(STREAMS, TOKENS)
    return await called(address, "rate", STREAMS, TOKENS), theirs


async def measure(running: RunningServer, rounds: int) -> list[Figure]:
    """Return all figures."""
    served = running.parts.generation.served.models.served[-1]
    generator: Any = served.generator
    direct = Direct(generator)
    address = running.address
    await called(address, "first", 5)  # warms up, and shows the prompt

    before = generator.figures
    ours, theirs = [], []
    for _ in range(rounds):
        ours += await called(address, "first", 20)
        theirs += [(await direct.answer(tokens=32, temperature=0.0))[0] for _ in range(20)]
    after = generator.figures
    looked_up = after.prompt_token_count - before.prompt_token_count
    hit_rate = (after.cached_token_count - before.cached_token_count) / looked_up
    ours_ms, theirs_ms = (1e3 * statistics.median(each) for each in (ours, theirs))

    rates = [await _rates(address, direct, ours_first=bool(each % 2)) for each in range(rounds)]
    our_rate, their_rate = (statistics.median(each) for each in zip(*rates, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in rates)

    tasks = len(asyncio.all_tasks())
    await called(address, "leave", CALLERS)
    start = time.perf_counter()
    while time.perf_counter() - start < _IDLE_LIMIT_S:
        figures = generator.figures
        if not (figures.running_count or figures.waiting_count or generator.request_count):
            break
        await asyncio.sleep(0.005)
    idle_s = time.perf_counter() - start
    await asyncio.sleep(0.5)
    left = max(0, len(asyncio.all_tasks()) - tasks) + served.gate.running_count + served.gate.waiting_count
    return [
        Figure("first word, over gRPC with retrieval, p50", ours_ms, "ms"),
        Figure("first token, AsyncLLM directly, p50", theirs_ms, "ms"),
        Figure("difference", ours_ms - theirs_ms, "ms", FIRST_TARGET_MS),
        Figure(f"tokens/s of {STREAMS} streams, over gRPC", our_rate, ""),
        Figure(f"tokens/s of {STREAMS} streams, AsyncLLM directly", their_rate, ""),
        Figure("ratio, median of the rounds", ratio, "", RATE_TARGET, is_at_least=True),
        Figure(f"{CALLERS} callers leave: until the engine is idle", idle_s, "s", IDLE_TARGET_S),
        Figure("tasks, permits and waiting requests left behind", left, "", 0),
        Figure("share of prompt tokens from the prefix cache, same question", hit_rate, ""),
    ]


async def run(model: str, window_tokens: int, rounds: int) -> list[Figure]:
    """Measure in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as name:
        folder = Path(name)
        chosen = model or str(make_tiny_llama(folder / "model", window_tokens=window_tokens))
        async with (
            running_server(settings_of(folder, chosen, window_tokens)) as running,
            RagClient(running.address) as client,
        ):
            await client.create_collection(COLLECTION)
            await client.ingest_text(COLLECTION, TEXT)
            keep_what_started()  # as the server's own process does
            return await measure(running, rounds)


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    configure_logs(LogSettings(level="ERROR"))
    figures = asyncio.run(run(given.model, given.window, given.rounds))
    if given.json:
        print(json.dumps({each.name: each.value for each in figures}))
    else:
        print(*figures, sep="\n")
    return int(not all(each.is_met for each in figures))


if __name__ == "__main__":
    sys.exit(main())
