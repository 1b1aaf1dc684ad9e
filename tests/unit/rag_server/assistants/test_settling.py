from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rag_server.assistants.resident import ResidentAssistants
from rag_server.assistants.routing import Route, Router
from rag_server.assistants.settling import Assistants
from rag_server.domain.assistant import AUTO, Assistant, AssistantChoice, AssistantProfile, Selection
from rag_server.domain.collection import NewCollection
from rag_server.domain.conversation import ConversationRef, HistoryMessage, Role
from rag_server.domain.expansion import Hyde, QueryExpansion
from rag_server.domain.generation import AskedAssistant, GenerationRequest
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.domain.rewriting import ModelRewriting
from rag_server.errors import FailedPrecondition, InvalidArgument, NotFound
from rag_server.generation.follow_up import FollowUpWords
from rag_server.metadata import Database
from tests.unit.rag_server.assistants.conftest import TENANT, Embedder

HR = AssistantProfile(instructions="Be kind.", collection_ids=("handbook",), keywords=("leave",))
QUESTION = "How long is the annual leave?"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    async with opened.transaction() as tx:
        await tx.collections.create(TENANT, NewCollection("handbook"), embedding_model="m", dimension=4)
    yield opened
    await opened.close()


def settling(database: Database, embedder: Embedder, *, least: float = 0.9) -> Assistants:
    """Return what settles them on a server with the model `small`."""
    router = Router(embedder, min_similarity=least, min_similarity_untrained=least)
    resident = ResidentAssistants(embedder, capacity=9)
    return Assistants(database, resident, router, FollowUpWords(), lambda name: name == "small")


def asking(
    name: str,
    question: str = QUESTION,
    *collections: str,
    of_assistant: Mapping[str, Any] | None = None,
    **fields: Any,
) -> GenerationRequest:
    """Return a request that takes the collections of its assistant where it has none.

    `of_assistant`: what its settings are where the request has none.
    """

    def merged(assistant: Assistant | None) -> GenerationRequest:
        taken = assistant.profile.collection_ids if assistant else ()
        return GenerationRequest(
            RetrievalRequest(collections or taken, question),
            language="es",
            **{**(of_assistant or {}), **fields},
        )

    return GenerationRequest(
        RetrievalRequest(collections, question), assistant=AskedAssistant(name, merged), **fields
    )


async def create(database: Database, name: str, profile: AssistantProfile, *, default: bool = False) -> None:
    async with database.transaction() as tx:
        await tx.assistants.create(TENANT, name, profile, max_count=9)
        if default:
            await tx.assistants.mark_default(TENANT, name, is_default=True)


async def test_request_without_an_assistant_is_left_as_it_is(database: Database, embedder: Embedder) -> None:
    request = GenerationRequest(RetrievalRequest(("handbook",), QUESTION))
    assert await settling(database, embedder).settle(TENANT, request) is request


async def test_named_assistant_fills_the_request_in(database: Database, embedder: Embedder) -> None:
    await create(database, "hr", HR)
    ref = ConversationRef("c", "r", "digest")
    settled = await settling(database, embedder).settle(TENANT, asking("hr", conversation=ref))
    assert settled.choice == AssistantChoice(Selection.NAMED, "hr", 1)
    assert (settled.retrieval.collection_ids, settled.language) == (("handbook",), "es")
    assert (settled.instructions, settled.conversation, settled.assistant) == ("Be kind.", ref, None)


async def test_words_that_filters_have_changed_stay_so(database: Database, embedder: Embedder) -> None:
    await create(database, "hr", HR)
    raw = asking("hr", "Who is a@b.org?", history=(HistoryMessage(Role.USER, "I am c@d.org"),))
    screened = replace(
        raw,
        retrieval=replace(raw.retrieval, query="Who is [email]?"),
        history=(HistoryMessage(Role.USER, "I am [email]"),),
    )
    settled = await settling(database, embedder).settle(TENANT, screened, screened.history)
    assert settled.question == settled.retrieval.query == "Who is [email]?"
    assert settled.history == screened.history


async def test_unknown_assistant_is_not_found_and_names_the_field(
    database: Database, embedder: Embedder
) -> None:
    await create(database, "hr", HR)
    with pytest.raises(NotFound) as caught:
        await settling(database, embedder).settle("globex", asking("hr"))
    assert caught.value.reason == "ASSISTANT_NOT_FOUND"
    assert [each.field for each in caught.value.violations] == ["assistant"]
    assert caught.value.metadata == {"resource": "assistant", "id": "hr"}


async def test_change_by_another_server_holds_for_the_next_question(
    database: Database, embedder: Embedder
) -> None:
    await create(database, "hr", HR)
    here, there = settling(database, embedder), settling(database, Embedder())
    for each in (here, there):
        assert (await each.settle(TENANT, asking(AUTO))).choice == AssistantChoice(
            Selection.KEYWORD, "hr", 1, "leave", 1 / 3
        )
    async with database.transaction() as tx:
        await tx.assistants.update(
            TENANT, "hr", lambda profile: replace(profile, keywords=("annual",)), kept=9
        )
    for each in (here, there):
        choice = (await each.settle(TENANT, asking(AUTO))).choice
        assert choice is not None
        assert (choice.revision, choice.matched) == (2, "annual")
    async with database.transaction() as tx:
        await tx.assistants.delete(TENANT, "hr")
    for each in (here, there):
        with pytest.raises(FailedPrecondition):
            await each.settle(TENANT, asking(AUTO))


async def test_follow_up_question_is_routed_with_what_was_said_before(
    database: Database, embedder: Embedder
) -> None:
    await create(database, "hr", HR)
    history = (HistoryMessage(Role.USER, QUESTION), HistoryMessage(Role.ASSISTANT, "15 days."))
    settled = await settling(database, embedder).settle(TENANT, asking(AUTO, "And in Chile?"), history)
    assert settled.choice is not None
    assert settled.choice.selection is Selection.KEYWORD
    assert settled.question == "And in Chile?"


async def test_question_that_fits_none_gets_the_default(database: Database, embedder: Embedder) -> None:
    await create(database, "hr", HR)
    await create(database, "it", replace(HR, keywords=(), examples=("What is a printer?",)), default=True)
    choice = (await settling(database, embedder).settle(TENANT, asking(AUTO, "Who?"))).choice
    assert choice is not None
    assert (choice.selection, choice.assistant_id, choice.matched) == (Selection.DEFAULT, "it", "")
    assert choice.score is not None


async def test_question_that_fits_none_and_names_collections_is_answered_as_it_stands(
    database: Database, embedder: Embedder
) -> None:
    await create(database, "hr", HR)
    settled = await settling(database, embedder).settle(TENANT, asking(AUTO, "Who?", "law"))
    assert settled.choice == AssistantChoice(Selection.NONE)
    assert (settled.retrieval.collection_ids, settled.instructions) == (("law",), "")


async def test_question_that_fits_none_and_names_nothing_is_refused(
    database: Database, embedder: Embedder
) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await settling(database, embedder).settle(TENANT, asking(AUTO, "Who?"))
    assert caught.value.reason == "ASSISTANT_UNDECIDED"
    assert [each.field for each in caught.value.violations] == ["assistant"]


async def test_collection_that_was_deleted_is_named(database: Database, embedder: Embedder) -> None:
    await create(database, "hr", replace(HR, collection_ids=("handbook", "gone")))
    with pytest.raises(FailedPrecondition) as caught:
        await settling(database, embedder).settle(TENANT, asking("hr"))
    assert caught.value.reason == "ASSISTANT_COLLECTION_NOT_FOUND"
    assert caught.value.metadata == {"assistant": "hr", "collection": "gone"}
    settled = await settling(database, embedder).settle(TENANT, asking("hr", QUESTION, "law"))
    assert settled.retrieval.collection_ids == ("law",)


GONE_MODELS: list[dict[str, Any]] = [
    {"model": "gone"},
    {"expansion": QueryExpansion(Hyde(), "gone")},
    {"rewriting": ModelRewriting("gone")},
]


@pytest.mark.parametrize("fields", GONE_MODELS)
async def test_model_of_an_assistant_that_the_server_has_no_longer_is_named(
    database: Database, embedder: Embedder, fields: dict[str, Any]
) -> None:
    await create(database, "hr", HR)
    with pytest.raises(FailedPrecondition) as caught:
        await settling(database, embedder).settle(TENANT, asking("hr", of_assistant=fields))
    assert caught.value.reason == "ASSISTANT_MODEL_UNKNOWN"
    assert caught.value.metadata == {"assistant": "hr", "model": "gone"}
    assert [each.field for each in caught.value.violations] == ["assistant"]


@pytest.mark.parametrize("fields", GONE_MODELS)
async def test_model_of_the_request_itself_is_left_to_whoever_asks_it(
    database: Database, embedder: Embedder, fields: dict[str, Any]
) -> None:
    await create(database, "hr", HR)
    settled = await settling(database, embedder).settle(TENANT, asking("hr", **fields))
    assert {name: getattr(settled, name) for name in fields} == fields


async def test_model_of_an_assistant_that_the_request_replaces_is_not_missed(
    database: Database, embedder: Embedder
) -> None:
    await create(database, "hr", HR)
    request = asking("hr", of_assistant={"model": "gone"}, model="small")
    assert (await settling(database, embedder).settle(TENANT, request)).model == "small"


async def test_assistant_without_collections_needs_those_of_the_request(
    database: Database, embedder: Embedder
) -> None:
    await create(database, "hr", replace(HR, collection_ids=()))
    with pytest.raises(InvalidArgument) as caught:
        await settling(database, embedder).settle(TENANT, asking("hr"))
    assert [each.field for each in caught.value.violations] == ["collection_ids"]


async def test_assistant_that_is_deleted_while_it_is_chosen_is_routed_around(
    database: Database, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(database, "hr", HR)
    await create(database, "it", replace(HR, keywords=()), default=True)
    route = Router.route

    async def deleting(router: Router, question: str, known: Sequence[Any]) -> Route:
        found = await route(router, question, known)
        if any(each.id == "hr" for each in known):
            async with database.transaction() as tx:
                await tx.assistants.delete(TENANT, "hr")
        return found

    monkeypatch.setattr(Router, "route", deleting)
    choice = (await settling(database, embedder).settle(TENANT, asking(AUTO))).choice
    assert choice == AssistantChoice(Selection.DEFAULT, "it", 1)
