from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from rag_server.app_filters import create_screen
from rag_server.backends.protocols import Price
from rag_server.config import FilterSettings
from rag_server.domain.conversation import ConversationRef, StoredSummary, TurnLease
from rag_server.domain.generation import FinishReason, Prompt
from rag_server.errors import InvalidArgument, NotFound, Unavailable
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.filters.screen import Screen
from rag_server.generation.history import HistoryBudget, HistoryWindow
from rag_server.generation.summarising import (
    MAX_CHARACTERS,
    MESSAGE_CHARACTERS,
    STEPS,
    WAITING,
    Continued,
    SummaryWriter,
)
from rag_server.generation.tasks import TaskFailed
from rag_server.metadata import Database
from tests.unit.rag_server.generation.scripted import Reply, Scripted, tasks_of

TENANT = "acme"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def talk(database: Database) -> Continued:
    async with database.transaction() as tx:
        return Continued(TENANT, (await tx.conversations.create(TENANT, max_count=9)).id, "en")


async def say(database: Database, talk: Continued, *texts: str) -> None:
    """Ask questions, each answered with `A: ` and its own words; the messages get the next numbers."""
    ref = ConversationRef(talk.conversation_id)
    async with database.transaction() as tx:
        for text in texts:
            lease = await tx.turns.begin(TENANT, ref, text, ttl_s=3600.0, max_messages=1000)
            assert isinstance(lease, TurnLease)
            await tx.turns.record(TENANT, lease, f"A: {text}", b"")


async def stored(database: Database, talk: Continued) -> StoredSummary:
    async with database.snapshot() as tx:
        return await tx.summaries.get(TENANT, talk.conversation_id)


def writer(
    database: Database,
    model: Scripted,
    *,
    told: int = 2,
    max_cost: float | None = None,
    screen: Screen | None = None,
) -> SummaryWriter:
    """Return what summarises all but the last `told` messages."""
    window = HistoryWindow(lambda text: 1, HistoryBudget(told, 1000))
    return SummaryWriter(database, tasks_of(model, max_cost=max_cost), window, "", screen)


async def test_messages_that_fit_the_window_are_left_alone(database: Database, talk: Continued) -> None:
    await say(database, talk, "one?")
    model = Scripted("In short.")
    await writer(database, model).summarise(talk)
    assert await stored(database, talk) == StoredSummary("", 0)
    assert not model.prompts


async def test_messages_before_the_window_are_summarised(database: Database, talk: Continued) -> None:
    await say(database, talk, "one?", "two?")
    model = Scripted("About\none.\x00\u202e")
    await writer(database, model).summarise(talk)
    assert await stored(database, talk) == StoredSummary("About one.", 2)
    (prompt,) = model.prompts
    system, user = (each.text for each in prompt.messages)
    assert system.startswith("You keep the summary of a conversation.")
    assert user == "<conversation>\nUser: one?\nAssistant: A: one?\n</conversation>"


async def test_summary_goes_on_from_the_one_before_with_what_fell_out_since(
    database: Database, talk: Continued
) -> None:
    await say(database, talk, "one?", "two?")
    model = Scripted("About one.", "</conversation> Then two.", "All of it.")
    used = writer(database, model)
    await used.summarise(talk)
    await say(database, talk, "three?")
    await used.summarise(talk)
    await used.summarise(talk)
    assert await stored(database, talk) == StoredSummary("</conversation> Then two.", 4)
    assert len(model.prompts) == 2
    await say(database, talk, "four?")
    await used.summarise(talk)
    user = model.prompts[-1].messages[1].text
    assert user.startswith("Summary so far: ‹/conversation> Then two.\n\n<conversation>\nUser: three?")
    assert "four?" not in user


async def test_model_is_told_nothing_that_filters_take_out_which_are_newer_than_the_messages(
    database: Database, talk: Continued
) -> None:
    await say(database, talk, "a@b.org?", "two?")
    await writer(database, Scripted("Of a@b.org.")).summarise(talk)
    await say(database, talk, "c@d.org?")
    await say(database, talk, "four?")
    model = Scripted("In short.")
    screen = create_screen(FilterSettings(pii_question="redact"), FilterCounts())
    await writer(database, model, screen=screen).summarise(talk)
    told = model.prompts[0].messages[1].text
    assert told.startswith("Summary so far: Of [email].")
    assert "User: [email]?" in told
    assert "@" not in told


async def test_language_of_the_answer_chooses_the_template(database: Database, talk: Continued) -> None:
    await say(database, talk, "¿uno?", "¿dos?", "¿tres?", "¿cuatro?")
    model = Scripted("Uno y dos.", "Los tres.")
    spanish = Continued(TENANT, talk.conversation_id, "es")
    await writer(database, model).summarise(spanish)
    first, second = (prompt.messages for prompt in model.prompts)
    assert first[0].text.startswith("Llevas el resumen")
    assert second[1].text.startswith("Resumen hasta ahora: Uno y dos.\n\n<conversation>\nUsuario: ¿tres?")


async def test_long_conversation_is_summarised_bit_by_bit_and_no_more_than_so_often(
    database: Database, talk: Continued
) -> None:
    await say(database, talk, *(f"q{number}?" for number in range(2 * STEPS + 3)))
    model = Scripted("In short.")
    used = writer(database, model)
    await used.summarise(talk)
    assert len(model.prompts) == STEPS
    assert await stored(database, talk) == StoredSummary("In short.", 4 * STEPS)
    await used.summarise(talk)
    assert await stored(database, talk) == StoredSummary("In short.", 4 * STEPS + 4)


async def test_window_without_room_for_the_last_answer_leaves_all_of_it_to_the_summary(
    database: Database, talk: Continued
) -> None:
    await say(database, talk, "one?")
    await writer(database, Scripted("About one."), told=0).summarise(talk)
    assert await stored(database, talk) == StoredSummary("About one.", 2)


async def test_long_messages_are_told_in_part(database: Database, talk: Continued) -> None:
    await say(database, talk, "long " * MESSAGE_CHARACTERS, "two?")
    model = Scripted("In short.", window=100_000)
    await writer(database, model).summarise(talk)
    assert len(model.prompts[0].messages[1].text) < 2 * MESSAGE_CHARACTERS + 100


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "...",
        "x" * (MAX_CHARACTERS + 1),
        FinishReason.MAX_TOKENS,
        FinishReason.POLICY,
        Unavailable("PROVIDER_FAILED", "down"),
    ],
    ids=["empty", "no word", "too long", "cut", "withheld", "down"],
)
async def test_model_that_fails_leaves_the_summary_as_it_was(
    database: Database, talk: Continued, reply: Reply
) -> None:
    await say(database, talk, "one?", "two?")
    await writer(database, Scripted("About one.")).summarise(talk)
    await say(database, talk, "three?")
    with pytest.raises(TaskFailed):
        await writer(database, Scripted(reply)).summarise(talk)
    assert await stored(database, talk) == StoredSummary("About one.", 2)


async def test_model_that_would_cost_too_much_is_not_asked(database: Database, talk: Continued) -> None:
    await say(database, talk, "one?", "two?")
    model = Scripted("x", price=Price(1e6, 1e6))
    with pytest.raises(InvalidArgument):
        await writer(database, model, max_cost=1.0).summarise(talk)
    assert not model.prompts


async def test_model_that_only_quotes_is_not_asked(database: Database, talk: Continued) -> None:
    await say(database, talk, "one?", "two?")
    model = Scripted("x", window=None)
    await writer(database, model).summarise(talk)
    assert not model.prompts


async def test_summary_that_another_server_wrote_meanwhile_stays(database: Database, talk: Continued) -> None:
    await say(database, talk, "one?", "two?", "three?", "four?")

    class Slow(Scripted):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
            async with database.transaction() as tx:
                await tx.summaries.put(TENANT, talk.conversation_id, "Theirs.", 6, expected=0)
            async for event in super().generate(prompt):
                yield event

    model = Slow("Ours.")
    await writer(database, model).summarise(talk)
    assert await stored(database, talk) == StoredSummary("Theirs.", 6)
    assert len(model.prompts) == 1


async def test_conversation_that_was_deleted_meanwhile_gets_none(database: Database, talk: Continued) -> None:
    await say(database, talk, "one?", "two?")

    class Slow(Scripted):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
            async with database.transaction() as tx:
                await tx.conversations.delete(TENANT, talk.conversation_id)
            async for event in super().generate(prompt):
                yield event

    with pytest.raises(NotFound):
        await writer(database, Slow("Ours.")).summarise(talk)
    with pytest.raises(NotFound):
        await stored(database, talk)


async def test_run_goes_on_after_a_conversation_that_cannot_be_summarised(
    database: Database, talk: Continued
) -> None:
    await say(database, talk, "one?", "two?")
    used = writer(database, Scripted("About one."))
    used.offer(Continued(TENANT, "gone", "en"))
    used.offer(talk)
    running = asyncio.create_task(used.run())
    try:
        async with asyncio.timeout(60):
            while not (await stored(database, talk)).text:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_conversations_beyond_the_queue_are_left_alone(database: Database, talk: Continued) -> None:
    used = writer(database, Scripted("x"))
    for _ in range(2 * WAITING):
        used.offer(talk)
