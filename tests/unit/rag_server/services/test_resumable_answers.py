"""Answers that outlive their call: what readers get, and what is left when nobody comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rag.v1 import generate_service_pb2 as pb
from rag_server.errors import Aborted, DeadlineExceeded, InvalidArgument, NotFound, RagError, Unavailable
from rag_server.services.resumable_answers import ResumableAnswers, ResumptionLimits
from tests.faults.polling import until

Events = AsyncGenerator[pb.StreamGenerateResponse, None]
LONG_MS = 120_000


def question(window_ms: int = LONG_MS, **fields: Any) -> pb.StreamGenerateRequest:
    return pb.StreamGenerateRequest(
        collection_ids=["books"], question="why?", resume_window_ms=window_ms, **fields
    )


class Script:
    """An answer that a test writes, word by word."""

    def __init__(self, *words: str, ends: bool = True, error: Exception | None = None) -> None:
        self.words = list(words)
        self.written = 0
        self.is_closed = False
        self.go_on = asyncio.Event()
        self._ends = ends
        self._error = error

    async def __call__(self) -> Events:
        try:
            for word in self.words:
                self.written += 1
                yield pb.StreamGenerateResponse(delta=pb.AnswerDelta(text=word))
            if not self._ends:
                await self.go_on.wait()
            if self._error is not None:
                raise self._error
            yield pb.StreamGenerateResponse(finished=pb.GenerationFinished())
        finally:
            self.is_closed = True


Make = Callable[..., ResumableAnswers]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Return a function that makes a registry, which is closed after the test."""
    made: list[ResumableAnswers] = []

    def keep(
        *,
        count: int = 8,
        size: int = 10_000,
        longest_s: float = 600.0,
        registry: CollectorRegistry | None = None,
        has_peers: bool = False,
    ) -> ResumableAnswers:
        limits = ResumptionLimits(count, size, longest_s)
        made.append(ResumableAnswers(limits, registry, has_peers=has_peers))
        return made[-1]

    yield keep
    for each in made:
        await each.close()


async def cut_after(events: Events, count: int) -> list[pb.StreamGenerateResponse]:
    """Read some events, then leave."""
    seen = []
    async for event in events:
        seen.append(event)
        if len(seen) == count:
            break
    await events.aclose()
    return seen


async def rest_of(events: Events) -> list[pb.StreamGenerateResponse]:
    return [event async for event in events]


def text_of(events: list[pb.StreamGenerateResponse]) -> str:
    return "".join(event.delta.text for event in events)


def resumed(answers: ResumableAnswers, cursor: str, tenant: str = "acme", **fields: Any) -> Events:
    return answers.resume(tenant, question(resume_cursor=cursor, **fields))


async def error_of(events: Events) -> RagError:
    with pytest.raises(RagError) as caught:
        await rest_of(events)
    return caught.value


# going on


async def test_answer_that_is_read_to_its_end_is_as_it_was_written(make: Make) -> None:
    events = await rest_of(make().begin("acme", question(), Script("a ", "b")))
    assert [event.WhichOneof("event") for event in events] == ["delta", "delta", "finished"]
    assert len({event.cursor for event in events}) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
async def test_reader_that_comes_back_gets_each_later_event_once(make: Make, count: int) -> None:
    answers = make()
    first = await cut_after(answers.begin("acme", question(), Script("a ", "b ", "c")), count)
    rest = await rest_of(resumed(answers, first[-1].cursor))
    assert text_of(first + rest) == "a b c"
    assert [event.cursor.rpartition(".")[2] for event in first + rest] == ["1", "2", "3", "4"]


async def test_answer_goes_on_while_nobody_reads_it(make: Make) -> None:
    answers, script = make(), Script(*["word "] * 20)
    (first,) = await cut_after(answers.begin("acme", question(), script), 1)
    await until(lambda: script.is_closed)
    assert text_of([first, *await rest_of(resumed(answers, first.cursor))]) == "word " * 20


async def test_answer_can_be_resumed_again_and_again(make: Make) -> None:
    answers, script = make(), Script("a ", "b ", "c ", "d")
    events = await cut_after(answers.begin("acme", question(), script), 1)
    while not events[-1].HasField("finished"):
        events += await cut_after(resumed(answers, events[-1].cursor), 1)
    assert text_of(events) == "a b c d"
    assert await rest_of(resumed(answers, events[-1].cursor)) == []


async def test_events_that_had_to_go_are_a_gap_then_comes_what_is_left(make: Make) -> None:
    answers, script = make(size=300), Script(*["word "] * 100)
    (first,) = await cut_after(answers.begin("acme", question(), script), 1)
    await until(lambda: script.is_closed)
    gap, *rest = await rest_of(resumed(answers, first.cursor))
    assert gap.gap.event_count + len(rest) == 100
    assert gap.gap.answer_offset + len(text_of(rest)) == 5 * 100
    assert rest[-1].HasField("finished")
    assert text_of(await rest_of(resumed(answers, gap.cursor))) == text_of(rest)


async def test_error_comes_after_the_events_before_it_to_every_reader(make: Make) -> None:
    answers = make()
    broken = Script("a ", "b ", error=Unavailable("PROVIDER_STREAM_BROKEN", "broke off"))
    (first,) = await cut_after(answers.begin("acme", question(), broken), 1)
    for _ in range(2):
        events = resumed(answers, first.cursor)
        assert (await anext(events)).delta.text == "b "
        assert (await error_of(events)).reason == "PROVIDER_STREAM_BROKEN"


async def test_answer_that_takes_too_long_ends_with_an_error(make: Make) -> None:
    answers, script = make(longest_s=0.05), Script("a", ends=False)
    error = await error_of(answers.begin("acme", question(), script))
    assert isinstance(error, DeadlineExceeded)
    assert script.is_closed


# flow control


async def test_slow_reader_holds_the_answer_up(make: Make) -> None:
    answers, script = make(size=1000), Script(*["word " * 10] * 500)
    events = answers.begin("acme", question(), script)
    seen = [await anext(events)]
    for _ in range(1000):
        await asyncio.sleep(0)
    assert script.written < 20
    seen += [event async for event in events]
    assert text_of(seen) == "word " * 5000
    assert not any(event.HasField("gap") for event in seen)


async def test_reader_that_leaves_lets_the_answer_go_on_within_its_bytes(make: Make) -> None:
    answers, script = make(size=1000), Script(*["word " * 10] * 500)
    await cut_after(answers.begin("acme", question(), script), 1)
    await until(lambda: script.is_closed)
    assert script.written == 500


# who may read


async def test_newer_reader_takes_over_and_the_older_is_told(make: Make) -> None:
    answers, script = make(), Script("a ", ends=False)
    older = answers.begin("acme", question(), script)
    first = await anext(older)
    reading = asyncio.create_task(error_of(older))
    newer = resumed(answers, first.cursor)
    waiting = asyncio.create_task(rest_of(newer))
    error = await reading
    assert isinstance(error, Aborted)
    assert error.reason == "STREAM_TAKEN_OVER"
    script.go_on.set()
    assert [event.WhichOneof("event") for event in await waiting] == ["finished"]


async def test_foreign_tenants_cursor_is_answered_as_one_that_never_was(make: Make) -> None:
    answers = make()
    (first,) = await cut_after(answers.begin("acme", question(), Script("a ", "b")), 1)
    errors = []
    for tenant, cursor in (("other", first.cursor), ("acme", f"{'x' * 22}.1")):
        with pytest.raises(NotFound) as caught:
            resumed(answers, cursor, tenant)
        errors.append((caught.value.reason, caught.value.message, caught.value.metadata))
    assert errors[0] == errors[1]
    assert errors[0][0] == "STREAM_NOT_RESUMABLE"


async def test_cursor_of_another_server_says_so_where_there_are_others(make: Make) -> None:
    here, there, alone = make(has_peers=True), make(has_peers=True), make()
    (first,) = await cut_after(here.begin("acme", question(), Script("a ", "b")), 1)
    with pytest.raises(Unavailable) as elsewhere:
        resumed(there, first.cursor)
    assert elsewhere.value.reason == "STREAM_ELSEWHERE"
    assert elsewhere.value.retry_after_s is not None
    with pytest.raises(NotFound) as gone:
        resumed(alone, first.cursor)
    assert gone.value.reason == "STREAM_NOT_RESUMABLE"
    assert text_of(await rest_of(resumed(here, first.cursor))) == "b"


async def test_own_cursor_is_no_other_servers_when_its_answer_is_gone_or_foreign(make: Make) -> None:
    answers = make(has_peers=True)
    (first,) = await cut_after(answers.begin("acme", question(), Script("a ", "b")), 1)
    made_up = f"{first.cursor.partition('.')[0]}.{'x' * 22}.1"
    for tenant, cursor in (("other", first.cursor), ("acme", made_up), ("acme", f"{'x' * 22}.1")):
        with pytest.raises(NotFound) as caught:
            resumed(answers, cursor, tenant)
        assert caught.value.reason == "STREAM_NOT_RESUMABLE"


async def test_cursor_of_another_request_is_refused(make: Make) -> None:
    answers = make()
    (first,) = await cut_after(answers.begin("acme", question(), Script("a ", "b")), 1)
    with pytest.raises(InvalidArgument) as caught:
        resumed(answers, first.cursor, conversation_id="another")
    assert (caught.value.reason, caught.value.violations[0].field) == (
        "INVALID_RESUME_CURSOR",
        "resume_cursor",
    )


@pytest.mark.parametrize("cursor", ["x", ".1", "x.", "x.-1", "x.²", f"x.{'1' * 99}", "x.1.y"])
async def test_cursor_that_is_none_is_refused(make: Make, cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        resumed(make(), cursor)


async def test_cursor_of_an_event_that_has_not_been_is_refused(make: Make) -> None:
    answers = make()
    (first,) = await cut_after(answers.begin("acme", question(), Script("a", ends=False)), 1)
    error = await error_of(resumed(answers, first.cursor + "0"))
    assert error.reason == "INVALID_RESUME_CURSOR"


# what is left


async def test_nothing_is_left_when_the_window_ends_unread(make: Make) -> None:
    answers = make(count=100)
    tasks_before = len(asyncio.all_tasks())
    scripts = [Script("a ", "b ", ends=bool(index % 2)) for index in range(50)]
    for index, script in enumerate(scripts):
        await cut_after(answers.begin("acme", question(100), script), 1 + index % 2)
    await until(lambda: not answers.count and len(asyncio.all_tasks()) <= tasks_before)
    assert all(script.is_closed for script in scripts)


async def test_window_begins_again_with_each_reader(make: Make) -> None:
    answers, script = make(), Script("a ", ends=False)
    (first,) = await cut_after(answers.begin("acme", question(100), script), 1)
    again = answers.resume("acme", question(100, resume_cursor=first.cursor))
    waiting = asyncio.create_task(rest_of(again))
    await asyncio.sleep(0.3)  # longer than the window, which does not run now
    assert not script.is_closed
    script.go_on.set()
    assert len(await waiting) == 1


async def test_window_of_the_last_call_counts(make: Make) -> None:
    answers, script = make(), Script("a ", "b ", ends=False)
    (first,) = await cut_after(answers.begin("acme", question(), script), 1)
    await cut_after(answers.resume("acme", question(100, resume_cursor=first.cursor)), 1)
    await until(lambda: not answers.count and script.is_closed)


async def test_answer_is_given_up_at_once_when_its_reader_leaves_without_a_cursor(make: Make) -> None:
    answers, script = make(), Script(ends=False)
    events = answers.begin("acme", question(), script)
    reading = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    await events.aclose()
    await until(lambda: not answers.count and script.is_closed)


async def test_answer_whose_reader_never_begins_is_given_up_with_its_window(make: Make) -> None:
    answers, script = make(), Script("a", ends=False)
    await answers.begin("acme", question(100), script).aclose()
    await until(lambda: not answers.count and script.is_closed)


async def test_written_answer_makes_room_and_one_under_way_does_not(make: Make) -> None:
    answers = make(count=1)
    (first,) = await cut_after(answers.begin("acme", question(), Script("a", ends=False)), 1)
    second = await rest_of(answers.begin("acme", question(), Script("a")))
    assert [event.cursor for event in second] == ["", ""]
    await answers.close()

    answers = make(count=1)
    (first,) = await cut_after(answers.begin("acme", question(), Script("a")), 1)
    await rest_of(resumed(answers, first.cursor))
    third = await rest_of(answers.begin("acme", question(), Script("a")))
    assert all(event.cursor for event in third)
    with pytest.raises(NotFound):
        resumed(answers, first.cursor)


# the end of the server


async def test_stopping_server_gives_up_what_nobody_reads_and_goes_on_with_the_rest(make: Make) -> None:
    answers = make()
    left, kept = Script("a", ends=False), Script("a", ends=False)
    await cut_after(answers.begin("acme", question(), left), 1)
    events = answers.begin("acme", question(), kept)
    await anext(events)
    answers.stop()
    await until(lambda: left.is_closed)
    assert (kept.is_closed, answers.count) == (False, 1)
    late = await rest_of(answers.begin("acme", question(), Script("a")))
    assert [event.cursor for event in late] == ["", ""]
    await events.aclose()
    await until(lambda: not answers.count)


async def test_closed_registry_has_told_its_readers_and_runs_nothing(make: Make) -> None:
    answers, script = make(), Script("a", ends=False)
    events = answers.begin("acme", question(), script)
    await anext(events)
    reading = asyncio.create_task(error_of(events))
    await asyncio.sleep(0)
    await answers.close()
    assert (await reading).reason == "SERVER_STOPPING"
    assert script.is_closed


async def test_gauge_tells_answers_that_are_read_from_those_that_are_not(make: Make) -> None:
    registry = CollectorRegistry()
    answers = make(registry=registry)

    def counted(is_read: str) -> float | None:
        return registry.get_sample_value("rag_answers_resumable", {"is_read": is_read})

    events = answers.begin("acme", question(), Script("a", ends=False))
    await anext(events)
    assert (counted("true"), counted("false")) == (1, 0)
    await events.aclose()
    assert (counted("true"), counted("false")) == (0, 1)
