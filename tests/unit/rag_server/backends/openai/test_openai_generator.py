from __future__ import annotations

import asyncio
import gzip
import time
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest

from rag_server.backends.openai.generator import ModelOptions, OpenAiGenerator
from rag_server.domain.generation import Delta, FinishReason, Message, Prompt, Role, Sampling, Usage
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import FailedPrecondition, RagError, ResourceExhausted, Unavailable
from rag_server.testing.generator_suite import collected, prompt
from tests.openai_server import Drop, Hang, OpenAiServer, Status, Stream, event
from tests.unit.rag_server.backends.breaker_clock import BreakerClock
from tests.unit.rag_server.backends.openai.conftest import KEY, MakeGenerator


async def error_of(generator: OpenAiGenerator, given: Prompt | None = None) -> tuple[RagError, str]:
    """Return the error that an answer ends with, and the text before it."""
    text = ""

    async def read() -> None:
        nonlocal text
        async for each in generator.generate(given or prompt()):
            assert not isinstance(each, FinishReason)
            text += each.text if isinstance(each, Delta) else ""

    with pytest.raises(RagError) as caught:
        await read()
    error = caught.value
    assert "hunter2" not in f"{error.message} {error.metadata}"
    assert (error.metadata["provider"], error.metadata["model"]) == ("local", "small")
    return error, text


async def test_generate_sends_messages_options_and_the_key(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    await collected(make_generator().generate(prompt(max_tokens=33)))
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    body = server.bodies[0]
    assert (body["model"], body["stream"], body["max_tokens"]) == ("org/small", True, 33)
    assert body["messages"][0] == {"role": "system", "content": "Answer from the sources."}
    assert {"temperature", "top_p", "seed", "stop"}.isdisjoint(body)


async def test_generate_without_a_key_sends_no_authorization(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    await collected(make_generator(api_key="").generate(prompt()))
    assert "authorization" not in server.headers[0]


async def test_generate_options_of_the_request_win_over_the_models_own(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    model = ModelOptions(
        "small",
        "org/small",
        4096,
        defaults=Sampling(temperature=0.7, top_p=0.9),
        max_tokens_field="max_completion_tokens",
        extra={"reasoning_effort": "low", "model": "another"},
    )
    given = prompt(max_tokens=9)
    request = given.request
    asked = Prompt(
        type(request)(
            request.retrieval, max_tokens=9, sampling=Sampling(temperature=0.0, seed=5, stop=("END",))
        ),
        given.sources,
        (Message(Role.USER, "hi"), Message(Role.ASSISTANT, "yes"), Message(Role.USER, "and?")),
    )
    await collected(make_generator(model).generate(asked))
    body = server.bodies[0]
    assert body["temperature"] == 0.0
    assert (body["top_p"], body["seed"], body["stop"]) == (0.9, 5, ["END"])
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (9, "low")
    assert body["model"] == "org/small"
    assert "max_tokens" not in body
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]


async def test_usage_is_the_providers_and_else_counted(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Stream.of("Dawn."), Stream.of("Dawn.", usage=None))
    generator = make_generator()
    assert (await collected(generator.generate(prompt()))).usage == Usage(11, 7)
    counted = (await collected(generator.generate(prompt()))).usage
    assert counted is not None
    assert counted.answer_token_count == 3
    assert counted.prompt_token_count > 20


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("stop", FinishReason.COMPLETE),
        ("length", FinishReason.MAX_TOKENS),
        ("content_filter", FinishReason.POLICY),
    ],
)
async def test_reason_of_the_provider_becomes_ours(
    server: OpenAiServer, make_generator: MakeGenerator, told: str, expected: FinishReason
) -> None:
    server.script(Stream.of("Dawn.", reason=told))
    assert (await collected(make_generator().generate(prompt()))).reason is expected


async def test_connection_is_used_again_after_an_answer(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    generator = make_generator()
    for _ in range(6):
        await collected(generator.generate(prompt()))
    assert server.connection_count < 6


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (401, FailedPrecondition, "PROVIDER_REFUSED_KEY"),
        (403, FailedPrecondition, "PROVIDER_REFUSED_KEY"),
        (404, FailedPrecondition, "PROVIDER_MODEL_NOT_FOUND"),
        (400, FailedPrecondition, "PROVIDER_REFUSED_REQUEST"),
        (302, FailedPrecondition, "PROVIDER_REFUSED_REQUEST"),
        (501, Unavailable, "PROVIDER_FAILED"),
    ],
)
async def test_status_that_does_not_pass_is_an_error_at_once(
    server: OpenAiServer, make_generator: MakeGenerator, status: int, kind: type[RagError], reason: str
) -> None:
    server.script(Status(status, {"Location": "http://127.0.0.1:9/"}))
    error, text = await error_of(make_generator())
    assert (type(error), error.reason, text) == (kind, reason, "")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("failure", [Status(500), Status(503), Status(429), Status(408), Drop()])
async def test_failure_that_may_pass_is_tried_again(
    server: OpenAiServer, make_generator: MakeGenerator, failure: Any
) -> None:
    server.script(failure, failure)
    answer = await collected(make_generator().generate(prompt()))
    assert (answer.text, answer.reason) == ("Yes.", FinishReason.COMPLETE)
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Status(500), "PROVIDER_FAILED"),
        (Status(429), "PROVIDER_RATE_LIMITED"),
        (Status(408), "PROVIDER_TIMEOUT"),
        (Drop(), "PROVIDER_STREAM_BROKEN"),
    ],
)
async def test_failure_that_does_not_pass_is_an_error_after_all_attempts(
    server: OpenAiServer, make_generator: MakeGenerator, failure: Any, reason: str
) -> None:
    server.script(*[failure] * 4)
    error, _ = await error_of(make_generator(attempts=4))
    assert error.reason == reason
    assert error.is_retryable
    assert len(server.bodies) == 4


async def test_wait_that_the_provider_asks_for_is_told_when_it_is_too_long(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Status(429, {"Retry-After": "120"}))
    error, _ = await error_of(make_generator())
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after_s == 120
    assert len(server.bodies) == 1


async def test_wait_that_the_deadline_has_no_room_for_is_not_begun(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Status(503, {"Retry-After": "10"}))
    given = prompt()
    limit = TimeLimit(time.monotonic() + 5, is_callers=True)
    error, _ = await error_of(make_generator(), Prompt(given.request, given.sources, given.messages, limit))
    assert (error.reason, error.retry_after_s) == ("PROVIDER_FAILED", 10)
    assert len(server.bodies) == 1


async def test_wait_of_no_time_is_honoured(server: OpenAiServer, make_generator: MakeGenerator) -> None:
    # with the wait of its own it would not come to the second attempt
    server.script(Status(429, {"Retry-After": "0"}))
    await collected(make_generator(retry_wait_s=3600.0, max_retry_wait_s=1.0).generate(prompt()))
    assert len(server.bodies) == 2


async def test_wait_until_a_date_is_understood(server: OpenAiServer, make_generator: MakeGenerator) -> None:
    server.script(Status(429, {"Retry-After": formatdate(time.time() + 1000, usegmt=True)}))
    error, _ = await error_of(make_generator())
    assert error.retry_after_s is not None
    assert 900 < error.retry_after_s <= 1000


async def test_provider_that_is_not_there_is_unreachable(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    generator = make_generator(attempts=2)
    await server.__aexit__()
    error, _ = await error_of(generator)
    assert (type(error), error.reason) == (Unavailable, "PROVIDER_UNREACHABLE")


@pytest.mark.parametrize(
    "silence", [Hang(), Stream.of(hangs=True), Stream.of("It ", "waits ", hangs=True)], ids=repr
)
async def test_silence_ends_after_the_time_that_it_may_take(
    server: OpenAiServer, make_generator: MakeGenerator, silence: Any
) -> None:
    server.script(silence)
    error, text = await error_of(make_generator(read_timeout_s=1.0))
    assert (type(error), error.reason) == (Unavailable, "PROVIDER_TIMEOUT")
    assert text == "".join(getattr(silence, "tokens", ()))
    assert len(server.bodies) == 1, "what was begun is not begun again"
    await server.abandoned.wait()


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (Stream.of("It ", is_done=False), "PROVIDER_STREAM_BROKEN"),
        (Stream.of("It ", reason=None), "PROVIDER_STREAM_BROKEN"),
        (Stream.of("It ", raw=event({"error": {"message": "hunter2"}})), "PROVIDER_STREAM_BROKEN"),
        (Stream.of("It ", raw=b"data: {hunter2\n\n"), "PROVIDER_RESPONSE_INVALID"),
        (Stream.of("It ", raw=b"data: [1]\n\n"), "PROVIDER_RESPONSE_INVALID"),
        (Stream.of("It ", raw=event({"choices": [{"delta": {"content": 5}}]})), "PROVIDER_RESPONSE_INVALID"),
        (Stream.of("It ", reason="tool_calls"), "PROVIDER_RESPONSE_INVALID"),
        (Stream.of("It ", raw=b"data: " + b"x" * 1_100_000), "PROVIDER_ANSWER_TOO_LONG"),
        (
            Stream.of("It ", raw=event({"choices": [{"delta": {"content": "y" * 9000}}]})),
            "PROVIDER_ANSWER_TOO_LONG",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_answer_that_breaks_is_an_error_after_the_words_so_far(
    server: OpenAiServer, make_generator: MakeGenerator, stream: Stream, reason: str
) -> None:
    server.script(stream)
    error, text = await error_of(make_generator(), prompt(max_tokens=20))
    assert (type(error), error.reason, text) == (Unavailable, reason, "It ")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("body", [b"<html>hunter2</html>", b""])
@pytest.mark.parametrize("media_type", ["text/html", "text/event-stream; charset=utf-8"])
async def test_answer_that_is_no_stream_is_an_error(
    server: OpenAiServer, make_generator: MakeGenerator, body: bytes, media_type: str
) -> None:
    server.script(Status(200, {"Content-Type": media_type}, body))
    error, _ = await error_of(make_generator())
    expected = "PROVIDER_RESPONSE_INVALID" if media_type == "text/html" else "PROVIDER_STREAM_BROKEN"
    assert error.reason == expected


async def test_answer_that_is_compressed_is_invalid(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    server.script(Status(200, headers, gzip.compress(event({"choices": [{"delta": {"content": "Yes."}}]}))))
    error, _ = await error_of(make_generator())
    assert error.reason == "PROVIDER_RESPONSE_INVALID"


async def test_answer_in_json_instead_of_a_stream_is_an_error(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Status(200, {"Content-Type": "application/json; charset=utf-8"}, b'{"choices": []}'))
    error, _ = await error_of(make_generator())
    assert error.reason == "PROVIDER_RESPONSE_INVALID"


async def test_closing_the_answer_aborts_the_request_at_the_provider(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Stream.of("It ", hangs=True))
    async with aclosing(make_generator().generate(prompt())) as events:
        assert await anext(events) == Delta("It ")
        assert server.running == 1
    await server.abandoned.wait()


@pytest.mark.parametrize("behaviour", [Hang(), Stream.of("It ", hangs=True)], ids=repr)
async def test_cancelling_the_reader_aborts_the_request_at_the_provider(
    server: OpenAiServer, make_generator: MakeGenerator, behaviour: Any
) -> None:
    server.script(behaviour)
    task = asyncio.create_task(collected(make_generator().generate(prompt())))
    await server.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.abandoned.wait()


async def test_provider_that_keeps_failing_is_suspended_and_probed_later(
    server: OpenAiServer, make_generator: MakeGenerator, breaker_clock: BreakerClock
) -> None:
    server.script(Status(500), Status(500), Status(500))
    generator = make_generator(attempts=1, breaker_failures=2, breaker_open_s=30.0)
    for _ in range(2):
        assert (await error_of(generator))[0].reason == "PROVIDER_FAILED"
    error, _ = await error_of(generator)
    assert (type(error), error.reason) == (Unavailable, "PROVIDER_SUSPENDED")
    assert len(server.bodies) == 2, "it was not asked"

    breaker_clock.now += 31
    assert (await error_of(generator))[0].reason == "PROVIDER_FAILED"
    assert (await error_of(generator))[0].reason == "PROVIDER_SUSPENDED"
    breaker_clock.now += 31
    assert (await collected(generator.generate(prompt()))).text == "Yes."
    assert (await collected(generator.generate(prompt()))).text == "Yes."


@pytest.mark.parametrize("refusal", [Status(401), Status(429), Status(400)])
async def test_refusals_suspend_nobody(
    server: OpenAiServer, make_generator: MakeGenerator, refusal: Status
) -> None:
    server.script(*[refusal] * 3)
    generator = make_generator(attempts=1, breaker_failures=1)
    for _ in range(3):
        assert (await error_of(generator))[0].reason != "PROVIDER_SUSPENDED"
    assert (await collected(generator.generate(prompt()))).text == "Yes."


@dataclass
class Watch:
    """A clock that stands still."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr("rag_server.backends.openai.provider.time", watch)
    return watch


HUNG_AFTER_S = {"read_timeout_s": 60.0, "connect_timeout_s": 5.0, "attempts": 1, "breaker_failures": 1}


@pytest.mark.parametrize(
    ("waited_s", "expected"), [(20.0, "PROVIDER_SUSPENDED"), (19.0, None)], ids=["long", "not long"]
)
async def test_provider_that_hangs_is_suspended_though_every_caller_leaves_before_the_silence_ends(
    server: OpenAiServer, make_generator: MakeGenerator, watch: Watch, waited_s: float, expected: str | None
) -> None:
    server.script(Hang())
    generator = make_generator(**HUNG_AFTER_S)
    task = asyncio.create_task(collected(generator.generate(prompt())))
    await server.reached.wait()
    watch.now += waited_s
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if expected is None:
        assert (await collected(generator.generate(prompt()))).text == "Yes."
    else:
        assert (await error_of(generator))[0].reason == expected


async def test_provider_that_hangs_in_mid_answer_is_suspended_when_its_caller_leaves(
    server: OpenAiServer, make_generator: MakeGenerator, watch: Watch
) -> None:
    server.script(Stream.of("It ", hangs=True))
    generator = make_generator(**HUNG_AFTER_S)
    async with aclosing(generator.generate(prompt())) as events:
        assert await anext(events) == Delta("It ")
        task = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)  # it waits for the next piece
        watch.now += 20.0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await error_of(generator))[0].reason == "PROVIDER_SUSPENDED"


async def test_reader_who_takes_its_time_does_not_count_against_the_provider(
    server: OpenAiServer, make_generator: MakeGenerator, watch: Watch
) -> None:
    server.script(Stream.of("It ", hangs=True))
    generator = make_generator(**HUNG_AFTER_S)
    async with aclosing(generator.generate(prompt())) as events:
        assert await anext(events) == Delta("It ")
        watch.now += 3600.0
    assert (await collected(generator.generate(prompt()))).text == "Yes."


async def test_probe_that_is_being_answered_lets_other_requests_through(
    server: OpenAiServer, make_generator: MakeGenerator, breaker_clock: BreakerClock
) -> None:
    server.script(Status(500), Stream.of("It ", "waits ", hangs=True))
    generator = make_generator(attempts=1, breaker_failures=1, breaker_open_s=30.0)
    assert (await error_of(generator))[0].reason == "PROVIDER_FAILED"
    breaker_clock.now += 31
    async with aclosing(generator.generate(prompt())) as probe:
        assert [await anext(probe), await anext(probe)] == [Delta("It "), Delta("waits ")]
        assert (await collected(generator.generate(prompt()))).text == "Yes."


async def test_probe_whose_answer_makes_no_sense_fails(
    server: OpenAiServer, make_generator: MakeGenerator, breaker_clock: BreakerClock
) -> None:
    server.script(Status(500), Status(500), Stream.of(raw=event({"error": {"message": "hunter2"}})))
    generator = make_generator(attempts=1, breaker_failures=2, breaker_open_s=30.0)
    for _ in range(2):
        await error_of(generator)
    breaker_clock.now += 31
    assert (await error_of(generator))[0].reason == "PROVIDER_STREAM_BROKEN"
    assert (await error_of(generator))[0].reason == "PROVIDER_SUSPENDED"


async def test_check_of_a_provider_whose_connections_are_all_in_use_passes(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Stream.of("It ", hangs=True))
    generator = make_generator(max_connections=1)
    async with aclosing(generator.generate(prompt())) as events:
        await anext(events)
        await generator.check()
    assert server.paths == ["/v1/chat/completions"]


async def test_check_reads_nothing_of_what_the_provider_lists(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    server.script(Status(200, {"Content-Encoding": "gzip"}, b"no gzip at all"))
    await make_generator().check()


async def test_check_asks_for_the_models_and_tells_what_is_wrong(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    generator = make_generator()
    await generator.check()
    assert server.paths == ["/v1/models"]
    server.script(Status(401))
    with pytest.raises(FailedPrecondition) as caught:
        await generator.check()
    assert caught.value.reason == "PROVIDER_REFUSED_KEY"


async def test_check_of_a_provider_that_is_not_there_tells_so(
    server: OpenAiServer, make_generator: MakeGenerator
) -> None:
    generator = make_generator()
    await server.__aexit__()
    with pytest.raises(Unavailable) as caught:
        await generator.check()
    assert caught.value.reason == "PROVIDER_UNREACHABLE"


def test_model_tells_provider_window_and_how_it_counts(make_generator: MakeGenerator) -> None:
    model = make_generator().model
    assert (model.name, model.provider, model.window_tokens, model.counts_exactly) == (
        "small",
        "local",
        4096,
        False,
    )
