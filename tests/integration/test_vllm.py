"""vLLM in process, for real: one engine on the CPU, with a model that says one sentence, or babbles.

All tests are in one class, so that one worker runs them and one engine is started.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import grpc
import psutil
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import options_pb2
from rag_server.app import RunningServer, running_server
from rag_server.domain.generation import (
    Delta,
    FinishReason,
    GenerationRequest,
    Message,
    Prompt,
    Role,
    Sampling,
    Usage,
)
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.generation.models import ServedModel
from rag_server.testing.generator_suite import SOURCES, GeneratorSuite, collected, prompt
from rag_server.testing.tiny_llama import make_tiny_llama
from tests.conftest import make_settings
from tests.faults.polling import until
from tests.rag_client import RagClient, failure, next_of

if TYPE_CHECKING:  # importing it takes seconds, in each process that collects tests
    from rag_server.backends.vllm.generator import VllmGenerator

COLLECTION = "birds"
HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs."
QUESTION = "When does the grey heron wait by the river?"
ANSWER = "It waits at dawn."
WINDOW_TOKENS = 4096


@dataclass
class Surroundings:
    """What vLLM must leave alone."""

    handlers: dict[int, Any]
    policy: type
    log_handlers: list[logging.Handler]

    @classmethod
    def now(cls) -> Surroundings:
        signals = (signal.SIGTERM, signal.SIGCHLD)  # asyncio has SIGINT, anew in each test
        return cls(
            {each: signal.getsignal(each) for each in signals},
            type(asyncio.get_event_loop_policy()),
            [
                each
                for each in logging.getLogger().handlers
                if not type(each).__module__.startswith("_pytest")
            ],
        )


@dataclass
class Rig:
    """A server whose default model is vLLM's."""

    running: RunningServer
    client: RagClient
    before: Surroundings

    @property
    def served(self) -> ServedModel:
        return next(
            each for each in self.running.parts.generation.served.models.served if each.name == "tiny"
        )

    @property
    def generator(self) -> VllmGenerator:
        return cast("VllmGenerator", self.served.generator)

    @property
    def is_idle(self) -> bool:
        figures, gate = self.generator.figures, self.served.gate
        return not (
            figures.running_count
            or figures.waiting_count
            or self.generator.request_count
            or gate.running_count
            or gate.waiting_count
        )

    def ask(self, question: str = QUESTION, *, timeout_s: float = 120, **generation: Any) -> Any:
        return self.client.generate.StreamGenerate(
            generate_pb.StreamGenerateRequest(
                collection_ids=[COLLECTION],
                question=question,
                generation=options_pb2.GenerationOptions(**{"max_answer_tokens": 64, **generation}),
            ),
            timeout=timeout_s,
        )

    def babble(self, *, timeout_s: float = 120) -> Any:
        """Ask for an answer that takes seconds."""
        return self.ask(temperature=2.0, max_answer_tokens=3000, timeout_s=timeout_s)

    async def engine(self) -> admin_pb.EngineInfo:
        info = await self.client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
        return next(each.engine for each in info.models if each.name == "tiny")


def engine_processes() -> list[str]:
    """Return the names of those that have not ended."""
    children = psutil.Process().children(recursive=True)
    return [
        each.name()
        for each in children
        if each.name().startswith("VLLM") and each.status() != psutil.STATUS_ZOMBIE
    ]


def babbling(max_tokens: int = 3000, **sampling: Any) -> Prompt:
    """Return a prompt that is answered at length; with 3000 tokens for seconds."""
    asked = Sampling(**{"temperature": 2.0, **sampling})
    request = GenerationRequest(RetrievalRequest(("books",), QUESTION), max_tokens=max_tokens, sampling=asked)
    return Prompt(request, SOURCES, (Message(Role.USER, QUESTION),))


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder = tmp_path_factory.mktemp("vllm")
    model = make_tiny_llama(folder / "model", window_tokens=WINDOW_TOKENS)
    here = {
        "kind": "vllm",
        "dtype": "float32",
        "enforce_eager": True,
        "kv_cache_bytes": 256 * 1024**2,
        "max_sequences": 64,
        "cpu_threads": 1,
        "start_timeout_s": 900,
    }
    tiny = {
        "provider": "here",
        "id": str(model),
        "window_tokens": WINDOW_TOKENS,
        "temperature": 0.0,
        "permits": 64,
        "queue": 1000,
    }
    settings = make_settings(
        folder,
        models={
            "providers": {"here": here},
            "models": {"tiny": tiny},
            "aliases": {"default": {"tiny": 1.0}},
        },
        server={"health_interval_s": 3600.0, "max_concurrent_calls": 1000},
    )
    before = Surroundings.now()
    async with running_server(settings) as running, RagClient(running.address) as client:
        await client.create_collection(COLLECTION)
        await client.ingest_text(COLLECTION, HERON, "heron.txt")
        yield Rig(running, client, before)
    await until(lambda: not engine_processes())


@pytest.mark.asyncio(loop_scope="class")
@pytest.mark.timeout(1200)  # the first test waits for the engine, which takes half a minute of two cores
class TestVllmGenerator(GeneratorSuite):
    @pytest_asyncio.fixture(loop_scope="class")
    async def generator(self, rig: Rig) -> VllmGenerator:
        return rig.generator

    async def test_start_leaves_logging_signals_and_loop_policy_alone(self, rig: Rig) -> None:
        assert Surroundings.now() == rig.before
        assert logging.getLogger("vllm").handlers == []
        assert not [each.name for each in REGISTRY.collect() if each.name.startswith("vllm")]
        from vllm.usage.usage_lib import is_usage_stats_enabled

        assert not is_usage_stats_enabled()

    async def test_usage_is_of_the_models_own_tokens(self, generator: VllmGenerator) -> None:
        answer = await collected(generator.generate(prompt()))
        assert answer.text == "It waits at dawn [1]."
        (counted,) = generator.count_tokens([answer.text])
        assert answer.usage is not None
        assert answer.usage.answer_token_count == counted + 1  # and the end
        assert generator.count_prompt(prompt().messages) == answer.usage.prompt_token_count

    async def test_end_of_an_answer_is_read_without_a_pause(
        self, generator: VllmGenerator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rag_server.backends.vllm.engine.pause_s", lambda *_: 3600.0)
        async with asyncio.timeout(60):
            answer = await collected(generator.generate(prompt()))
        assert answer.text == "It waits at dawn [1]."

    async def test_many_streams_come_several_tokens_at_a_time(
        self, generator: VllmGenerator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As vLLM puts them together, not as it joins them while nobody reads."""
        monkeypatch.setattr("rag_server.backends.vllm.engine.pause_s", lambda *_: 0.0)
        await collected(generator.generate(babbling(100)))  # it is known then how quick the engine is

        async def deltas() -> int:
            events = [event async for event in generator.generate(babbling(200))]
            (usage,) = (event for event in events if isinstance(event, Usage))
            assert usage.answer_token_count == 200
            return sum(isinstance(event, Delta) for event in events)

        assert min(await asyncio.gather(*(deltas() for _ in range(32)))) < 120

    async def test_text_is_what_vllm_makes_of_the_tokens(self, generator: VllmGenerator) -> None:
        """It does so itself where it has to look for a string at which the answer stops."""
        for seed in range(5):
            theirs, ours = [
                await collected(generator.generate(babbling(300, seed=seed, stop=stop)))
                for stop in (("never said",), ())
            ]
            assert theirs == ours

    async def test_prompt_that_was_counted_is_asked_as_it_was(self, generator: VllmGenerator) -> None:
        uncounted = await collected(generator.generate(prompt()))
        generator.count_prompt(prompt().messages)
        assert await collected(generator.generate(prompt())) == uncounted

    async def test_sampling_of_the_request_is_that_of_the_engine(self, generator: VllmGenerator) -> None:
        def asked(**sampling: Any) -> Prompt:
            request = GenerationRequest(
                RetrievalRequest(("books",), QUESTION), max_tokens=24, sampling=Sampling(**sampling)
            )
            return Prompt(request, SOURCES, (Message(Role.USER, QUESTION),))

        seeded = [await collected(generator.generate(asked(temperature=2.0, seed=7))) for _ in range(2)]
        other = await collected(generator.generate(asked(temperature=2.0, seed=8)))
        assert seeded[0].text == seeded[1].text != other.text
        assert (await collected(generator.generate(asked(temperature=2.0, top_p=0.0)))).text == (
            "It waits at dawn [1]."
        )
        stopped = await collected(generator.generate(asked(stop=(" dawn",))))
        assert (stopped.text, stopped.reason) == ("It waits at", FinishReason.COMPLETE)

    @pytest.mark.parametrize(
        ("output", "expected"),
        [
            (ChoiceOutput(("yes", "no")), "yes|no"),
            (RegexOutput("[0-9]{4}"), "[0-9]{4}"),
            (JsonSchemaOutput('{"type": "boolean"}'), "true|false"),
        ],
        ids=["choice", "regex", "json"],
    )
    async def test_form_of_the_answer_is_kept_to_by_the_engine(
        self, generator: VllmGenerator, output: OutputFormat, expected: str
    ) -> None:
        told = prompt(max_tokens=64)
        told = replace(told, request=replace(told.request, output=output))
        answer = await collected(generator.generate(told))
        assert re.fullmatch(expected, answer.text.strip())
        assert answer.reason is FinishReason.COMPLETE

    async def test_stream_over_grpc_is_cited_and_counted(self, rig: Rig) -> None:
        events = [event async for event in rig.ask()]
        assert events[0].started.model == events[-1].finished.model == "tiny"
        assert not events[0].started.prompt.is_estimated
        assert events[0].started.prompt.window_tokens == WINDOW_TOKENS
        text = "".join(event.delta.text for event in events)
        (citation,) = [event.citation for event in events if event.HasField("citation")]
        assert text == ANSWER
        assert citation.document_id == "heron.txt"
        assert events[-2].usage.answer_token_count > 1
        assert events[-1].finished.reason == generate_pb.FINISH_REASON_COMPLETE

    async def test_question_beyond_the_window_is_refused_by_exact_count(self, rig: Rig) -> None:
        failed = await failure(rig.ask("☃" * 3000))
        assert (failed.code, failed.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "QUESTION_EXCEEDS_WINDOW",
        )
        assert list(failed.violations) == ["question"]

    async def test_same_beginning_is_found_in_the_prefix_cache(self, rig: Rig) -> None:
        long = Message(Role.SYSTEM, "Answer from the sources. " * 50)
        told = replace(prompt(), messages=(long, *prompt().messages))
        await collected(rig.generator.generate(told))
        before = await rig.engine()
        await collected(rig.generator.generate(told))
        after = await rig.engine()
        looked_up = after.prompt_token_count - before.prompt_token_count
        found = after.cached_token_count - before.cached_token_count
        assert looked_up / 2 < found <= looked_up
        assert 0 <= after.cache_usage <= 1

    async def test_generator_that_is_closed_ends_the_engines_request(self, rig: Rig) -> None:
        events = rig.generator.generate(babbling())
        for _ in range(3):
            await anext(events)
        assert rig.generator.figures.running_count == 1
        await events.aclose()
        await until(lambda: rig.is_idle)

    async def test_deadline_of_the_caller_ends_the_engines_request(self, rig: Rig) -> None:
        call = rig.babble(timeout_s=3)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: rig.is_idle)

    async def test_500_callers_who_leave_at_random_leave_nothing_behind(self, rig: Rig) -> None:
        """L2."""
        draw = random.Random(5)  # noqa: S311 - no secret
        begun: list[int] = []

        async def leave_early(events: int) -> None:
            call = rig.babble(timeout_s=300)
            for _ in range(events):
                await next_of(call)
            begun.append(events)
            call.cancel()

        tasks_before = len(asyncio.all_tasks())
        await asyncio.gather(*(leave_early(draw.choice((0, 0, 1, 2, 3, 6, 12))) for _ in range(500)))
        assert len(begun) == 500
        await until(lambda: rig.is_idle)
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
        assert "".join([event.delta.text async for event in rig.ask()]) == ANSWER
        await until(lambda: rig.is_idle)
        assert (await rig.engine()).running_count == 0
