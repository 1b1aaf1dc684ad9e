from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from rag_server.domain.conversation import title_of
from rag_server.domain.generation import FinishReason, Prompt
from rag_server.errors import NotFound, Unavailable
from rag_server.generation.naming import MAX_CHARACTERS, WAITING, Exchange, TitleWriter
from rag_server.generation.tasks import TaskFailed
from rag_server.metadata import Database
from tests.unit.rag_server.generation.scripted import Reply, Scripted, tasks_of

TENANT = "acme"
QUESTION = "¿Cuándo espera la garza en el río?"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


async def talk(database: Database, title: str) -> Exchange:
    async with database.transaction() as tx:
        made = await tx.conversations.create(TENANT, title=title, max_count=9)
    return Exchange(TENANT, made.id, QUESTION, "Al amanecer.", "es")


async def title(database: Database, exchange: Exchange) -> str:
    async with database.snapshot() as tx:
        return (await tx.conversations.get(TENANT, exchange.conversation_id)).title


async def test_model_gives_the_title_in_place_of_the_question(database: Database) -> None:
    exchange = await talk(database, title_of(QUESTION))
    model = Scripted('"Garzas al amanecer."')
    await TitleWriter(database, tasks_of(model), "").name(exchange)
    assert await title(database, exchange) == "Garzas al amanecer"
    (prompt,) = model.prompts
    assert "Usuario: ¿Cuándo espera la garza en el río?\nAsistente: Al amanecer." in prompt.messages[1].text
    assert prompt.messages[0].text.startswith("Pones título")


@pytest.mark.parametrize("given", ["Mine", ""])
async def test_title_of_the_user_stays_and_no_model_is_asked(database: Database, given: str) -> None:
    exchange = await talk(database, given)
    model = Scripted("Garzas")
    await TitleWriter(database, tasks_of(model), "").name(exchange)
    assert await title(database, exchange) == given
    assert not model.prompts


async def test_title_that_the_user_gives_meanwhile_wins(database: Database) -> None:
    exchange = await talk(database, title_of(QUESTION))

    class Slow(Scripted):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
            async with database.transaction() as tx:
                await tx.conversations.rename(TENANT, exchange.conversation_id, "Mine")
            async for event in super().generate(prompt):
                yield event

    await TitleWriter(database, tasks_of(Slow("Garzas")), "").name(exchange)
    assert await title(database, exchange) == "Mine"


@pytest.mark.parametrize(
    "reply", ["", "Two\nlines", FinishReason.MAX_TOKENS, "...", Unavailable("PROVIDER_FAILED", "down")]
)
async def test_model_that_fails_leaves_the_words_of_the_question(database: Database, reply: Reply) -> None:
    exchange = await talk(database, title_of(QUESTION))
    with pytest.raises(TaskFailed):
        await TitleWriter(database, tasks_of(Scripted(reply)), "").name(exchange)
    assert await title(database, exchange) == title_of(QUESTION)


async def test_conversation_that_was_deleted_is_not_named(database: Database) -> None:
    with pytest.raises(NotFound):
        await TitleWriter(database, tasks_of(Scripted("x")), "").name(
            Exchange(TENANT, "gone", QUESTION, "", "es")
        )


async def test_long_texts_are_told_in_part_and_a_long_title_is_cut(database: Database) -> None:
    question = "garza " * 1000
    exchange = await talk(database, title_of(question))
    model = Scripted("garza " * 50, window=100_000)
    exchange = Exchange(TENANT, exchange.conversation_id, question, "río " * 1000, "es")
    await TitleWriter(database, tasks_of(model), "").name(exchange)
    assert len(await title(database, exchange)) <= 100
    assert len(model.prompts[0].messages[1].text) < 2 * MAX_CHARACTERS + 100


async def test_conversations_beyond_the_queue_are_left_alone(database: Database) -> None:
    titles = TitleWriter(database, tasks_of(Scripted("x")), "")
    for _ in range(2 * WAITING):
        titles.offer(Exchange(TENANT, "c", QUESTION, "", "es"))
