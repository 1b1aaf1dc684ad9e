"""Assistants over gRPC: kept with their revisions, named or routed, for models that write and that quote."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import assistant_pb2, options_pb2
from rag.v1 import assistant_service_pb2 as pb
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import conversation_service_pb2 as conversation_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import running_server
from rag_server.services import assistants as servicer
from tests.conftest import make_settings
from tests.openai_server import OpenAiServer, Stream
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = grpc.StatusCode
LEAVE = "Employees in Chile get 15 days of annual leave per year."
PRINTER = "The printer on the second floor needs a badge to print."
QUESTION = "How many days of annual leave do employees in Chile get?"
NAMED = assistant_pb2.ASSISTANT_SELECTION_NAMED
KEYWORD = assistant_pb2.ASSISTANT_SELECTION_KEYWORD
EXAMPLE = assistant_pb2.ASSISTANT_SELECTION_EXAMPLE
DEFAULT = assistant_pb2.ASSISTANT_SELECTION_DEFAULT


@dataclass
class Rig:
    """A server with two collections, `hr` and `it`, and the provider of its models."""

    client: RagClient
    provider: OpenAiServer

    async def ask(self, question: str = QUESTION, **fields: Any) -> generate_pb.GenerateResponse:
        return await self.client.generate.Generate(
            generate_pb.GenerateRequest(question=question, **fields), timeout=60
        )

    async def create(self, assistant_id: str, **fields: Any) -> assistant_pb2.Assistant:
        request = pb.CreateAssistantRequest(
            assistant_id=assistant_id, assistant=assistant_pb2.Assistant(**fields)
        )
        return (await self.client.assistants.CreateAssistant(request)).assistant

    async def update(self, assistant_id: str, **fields: Any) -> assistant_pb2.Assistant:
        request = pb.UpdateAssistantRequest(
            assistant_id=assistant_id,
            assistant=assistant_pb2.Assistant(**fields),
            update_mask=FieldMask(paths=list(fields)),
        )
        return (await self.client.assistants.UpdateAssistant(request)).assistant


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with OpenAiServer() as provider:
        settings = make_settings(
            tmp_path_factory.mktemp("assistants"),
            models={
                "providers": {"local": {"base_url": provider.base_url}},
                "models": {"writer": {"provider": "local", "id": "tiny", "window_tokens": 4096}},
            },
            assistants={"max_assistants": 4, "kept_revisions": 3},
        )
        async with running_server(settings) as running, RagClient(running.address) as client:
            for name, text in (("hr", LEAVE), ("it", PRINTER)):
                await client.create_collection(name)
                await client.ingest_text(name, text, name)
            yield Rig(client, provider)


@pytest_asyncio.fixture(loop_scope="module")
async def rig(server: Rig) -> AsyncIterator[Rig]:
    """Return the server with no assistant."""
    yield server
    listed = await server.client.assistants.ListAssistants(pb.ListAssistantsRequest())
    for each in listed.assistants:
        await server.client.assistants.DeleteAssistant(pb.DeleteAssistantRequest(assistant_id=each.id))


async def test_assistant_is_created_shown_listed_and_deleted(rig: Rig) -> None:
    stub = rig.client.assistants
    created = await rig.create("people", collection_ids=["hr"], keywords=["leave"], is_default=True)
    assert (created.id, created.revision, created.is_default) == ("people", 1, True)
    assert (await stub.GetAssistant(pb.GetAssistantRequest(assistant_id="people"))).assistant == created
    await rig.create("machines", collection_ids=["it"])
    first = await stub.ListAssistants(pb.ListAssistantsRequest(page_size=1))
    assert [each.id for each in first.assistants] == ["machines"]
    rest = await stub.ListAssistants(pb.ListAssistantsRequest(page_size=1, page_token=first.next_page_token))
    assert (list(rest.assistants), rest.next_page_token) == ([created], "")
    await stub.DeleteAssistant(pb.DeleteAssistantRequest(assistant_id="people"))
    refused = await failure(stub.GetAssistant(pb.GetAssistantRequest(assistant_id="people")))
    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "ASSISTANT_NOT_FOUND")


async def test_page_ends_early_where_assistants_are_large(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "MAX_PAGE_BYTES", 1)
    for name in ("a", "b"):
        await rig.create(name, instructions="1")
        await rig.update(name, instructions="2")
    stub = rig.client.assistants
    first = await stub.ListAssistants(pb.ListAssistantsRequest())
    rest = await stub.ListAssistants(pb.ListAssistantsRequest(page_token=first.next_page_token))
    assert [[each.id for each in page.assistants] for page in (first, rest)] == [["a"], ["b"]]
    assert not rest.next_page_token
    kept = await stub.ListAssistantRevisions(pb.ListAssistantRevisionsRequest(assistant_id="a"))
    assert [each.revision for each in kept.revisions] == [2]
    older = await stub.ListAssistantRevisions(
        pb.ListAssistantRevisionsRequest(assistant_id="a", page_token=kept.next_page_token)
    )
    assert ([each.revision for each in older.revisions], older.next_page_token) == ([1], "")


async def test_call_that_is_repeated_gets_the_first_answer(rig: Rig) -> None:
    request = pb.CreateAssistantRequest(assistant_id="people", request_id=str(uuid.uuid4()))
    first = await rig.client.assistants.CreateAssistant(request)
    assert await rig.client.assistants.CreateAssistant(request) == first
    request.assistant.description = "another"
    refused = await failure(rig.client.assistants.CreateAssistant(request))
    assert refused.reason == "REQUEST_ID_REUSED"
    request.request_id = ""
    refused = await failure(rig.client.assistants.CreateAssistant(request))
    assert (refused.code, refused.reason) == (CODE.ALREADY_EXISTS, "ASSISTANT_ALREADY_EXISTS")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"collection_ids": ["hr", "none"]}, CODE.NOT_FOUND, "assistant.collection_ids[1]"),
        ({"keywords": ["the"], "language": "en"}, CODE.INVALID_ARGUMENT, "assistant.keywords[0]"),
        (
            {"generation": options_pb2.GenerationOptions(model="none")},
            CODE.INVALID_ARGUMENT,
            "assistant.generation.model",
        ),
        (
            {"generation": options_pb2.GenerationOptions(expansion={"hyde": {}, "model": "none"})},
            CODE.INVALID_ARGUMENT,
            "assistant.generation.expansion.model",
        ),
        (
            {"generation": options_pb2.GenerationOptions(rewriting={"model": {"model": "none"}})},
            CODE.INVALID_ARGUMENT,
            "assistant.generation.rewriting.model.model",
        ),
        ({"instructions": "x" * 8193}, CODE.INVALID_ARGUMENT, "assistant.instructions"),
    ],
)
async def test_assistant_that_cannot_work_is_refused_by_field(
    rig: Rig, fields: dict[str, Any], code: grpc.StatusCode, field: str
) -> None:
    request = pb.CreateAssistantRequest(assistant_id="bad", assistant=assistant_pb2.Assistant(**fields))
    refused = await failure(rig.client.assistants.CreateAssistant(request))
    assert (refused.code, list(refused.violations)) == (code, [field])
    await rig.create("good", keywords=["leave"])
    update = pb.UpdateAssistantRequest(
        assistant_id="good",
        assistant=assistant_pb2.Assistant(**fields),
        update_mask=FieldMask(paths=list(fields)),
    )
    refused = await failure(rig.client.assistants.UpdateAssistant(update))
    assert (refused.code, list(refused.violations)) == (code, [field])
    shown = await rig.client.assistants.GetAssistant(pb.GetAssistantRequest(assistant_id="good"))
    assert (shown.assistant.revision, list(shown.assistant.keywords)) == (1, ["leave"])


async def test_assistants_beyond_the_limit_are_refused(rig: Rig) -> None:
    for name in "abcd":
        await rig.create(name)
    refused = await failure(
        rig.client.assistants.CreateAssistant(pb.CreateAssistantRequest(assistant_id="e"))
    )
    assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_ASSISTANTS")
    assert refused.metadata == {"limit": "4"}


async def test_every_change_is_a_revision_and_earlier_ones_can_be_restored(rig: Rig) -> None:
    stub = rig.client.assistants
    await rig.create("people", instructions="1", collection_ids=["hr"])
    for number in range(2, 5):
        assert (await rig.update("people", instructions=f"{number}")).revision == number
    assert (await rig.update("people", is_default=True)).revision == 4
    listed = await stub.ListAssistantRevisions(
        pb.ListAssistantRevisionsRequest(assistant_id="people", page_size=2)
    )
    rest = await stub.ListAssistantRevisions(
        pb.ListAssistantRevisionsRequest(
            assistant_id="people", page_size=2, page_token=listed.next_page_token
        )
    )
    told = [(each.revision, each.instructions) for each in (*listed.revisions, *rest.revisions)]
    assert told == [(4, "4"), (3, "3"), (2, "2")]
    restored = await stub.RestoreAssistantRevision(
        pb.RestoreAssistantRevisionRequest(assistant_id="people", revision=2)
    )
    assert (restored.assistant.revision, restored.assistant.instructions) == (5, "2")
    assert restored.assistant.is_default
    refused = await failure(
        stub.RestoreAssistantRevision(pb.RestoreAssistantRevisionRequest(assistant_id="people", revision=1))
    )
    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "ASSISTANT_REVISION_NOT_FOUND")


async def test_named_assistant_answers_from_its_collections(rig: Rig) -> None:
    await rig.create("people", collection_ids=["hr"], retrieval=options_pb2.RetrievalOptions(top_k=1))
    answer = await rig.ask(assistant="people")
    assert "15 days" in answer.answer
    assert (answer.assistant.assistant_id, answer.assistant.revision) == ("people", 1)
    assert answer.assistant.selection == NAMED
    assert [each.collection_id for each in answer.collection_revisions] == ["hr"]
    elsewhere = await rig.ask(assistant="people", collection_ids=["it"])
    assert [each.collection_id for each in elsewhere.collection_revisions] == ["it"]


async def test_question_is_routed_by_keyword_by_example_and_to_the_default(rig: Rig) -> None:
    await rig.create("people", collection_ids=["hr"], keywords=["vacaciones", "annual leave"])
    await rig.create("machines", collection_ids=["it"], examples=["How can I print on the second floor?"])
    chosen = (await rig.ask(assistant="auto")).assistant
    assert (chosen.assistant_id, chosen.selection, chosen.matched) == ("people", KEYWORD, "annual leave")
    answer = await rig.ask("What do I need to print on the second floor?", assistant="auto")
    chosen = answer.assistant
    assert (chosen.assistant_id, chosen.selection) == ("machines", EXAMPLE)
    assert chosen.matched == "How can I print on the second floor?"
    assert chosen.score > 0.5
    assert "badge" in answer.answer
    refused = await failure(
        rig.client.generate.Generate(generate_pb.GenerateRequest(question="Who was Bach?", assistant="auto"))
    )
    assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "ASSISTANT_UNDECIDED")
    assert list(refused.violations) == ["assistant"]
    await rig.update("machines", is_default=True)
    chosen = (await rig.ask("Who was Bach?", assistant="auto")).assistant
    assert (chosen.assistant_id, chosen.selection) == ("machines", DEFAULT)


async def test_change_holds_for_the_next_question(rig: Rig) -> None:
    await rig.create("people", collection_ids=["hr"], keywords=["leave"])
    await rig.create("machines", collection_ids=["it"], is_default=True)
    assert (await rig.ask(assistant="auto")).assistant.assistant_id == "people"
    await rig.update("people", keywords=["pay"])
    assert (await rig.ask(assistant="auto")).assistant.assistant_id == "machines"


async def test_single_setting_is_changed_without_the_others(rig: Rig) -> None:
    await rig.create(
        "people", generation=options_pb2.GenerationOptions(max_answer_tokens=77, temperature=0.5)
    )
    request = pb.UpdateAssistantRequest(
        assistant_id="people",
        assistant=assistant_pb2.Assistant(generation=options_pb2.GenerationOptions(model="nobody")),
        update_mask=FieldMask(paths=["generation.model", "generation.temperature"]),
    )
    refused = await failure(rig.client.assistants.UpdateAssistant(request))
    assert (refused.reason, list(refused.violations)) == ("MODEL_UNKNOWN", ["assistant.generation.model"])
    request.assistant.generation.model = "extractive"
    changed = (await rig.client.assistants.UpdateAssistant(request)).assistant
    assert changed.generation == options_pb2.GenerationOptions(max_answer_tokens=77, model="extractive")
    assert changed.revision == 2


async def test_unknown_assistant_is_not_found(rig: Rig) -> None:
    call = rig.client.generate.StreamGenerate(
        generate_pb.StreamGenerateRequest(question=QUESTION, assistant="none")
    )
    refused = await failure(call)
    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "ASSISTANT_NOT_FOUND")
    assert list(refused.violations) == ["assistant"]


async def test_collection_of_an_assistant_that_was_deleted_is_named(rig: Rig) -> None:
    await rig.client.create_collection("gone")
    await rig.create("people", collection_ids=["gone"])
    await rig.client.collections.DeleteCollection(collection_pb.DeleteCollectionRequest(collection_id="gone"))
    request = generate_pb.GenerateRequest(question=QUESTION, assistant="people")
    refused = await failure(rig.client.generate.Generate(request))
    assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "ASSISTANT_COLLECTION_NOT_FOUND")
    assert refused.metadata == {"assistant": "people", "collection": "gone"}


async def test_model_is_told_the_instructions_after_the_common_part(rig: Rig) -> None:
    rig.provider.script(Stream.of("Fifteen days [1]."), Stream.of("Fifteen days [1]."))
    writer = options_pb2.GenerationOptions(model="writer", max_answer_tokens=64)
    await rig.create("people", collection_ids=["hr"], instructions="Be <|im_end|> kind.", generation=writer)
    answer = await rig.ask(assistant="people")
    assert (answer.model, answer.assistant.assistant_id) == ("writer", "people")
    plain = await rig.ask(collection_ids=["hr"], generation=writer)
    assert plain.prompt.token_count < answer.prompt.token_count
    told, common = (each["messages"][0]["content"] for each in rig.provider.bodies[-2:])
    assert told.startswith(common)
    assert told.endswith("Be ‹|im_end|› kind.")


async def test_conversation_goes_on_with_an_assistant_and_keeps_who_answered(rig: Rig) -> None:
    await rig.create("people", collection_ids=["hr"], keywords=["annual leave"])
    conversation = await rig.client.conversations.CreateConversation(
        conversation_pb.CreateConversationRequest()
    )
    common: dict[str, Any] = {"conversation_id": conversation.conversation.id, "assistant": "auto"}
    await rig.ask(**common)
    request = generate_pb.StreamGenerateRequest(
        question="And in Chile?", request_id=str(uuid.uuid4()), **common
    )
    events = [event async for event in rig.client.generate.StreamGenerate(request)]
    started = events[0].started
    assert (started.assistant.assistant_id, started.assistant.selection) == ("people", KEYWORD)
    await rig.client.assistants.DeleteAssistant(pb.DeleteAssistantRequest(assistant_id="people"))
    again = [event async for event in rig.client.generate.StreamGenerate(request)]
    assert again[0].started.assistant == started.assistant
    listed = await rig.client.conversations.ListMessages(
        conversation_pb.ListMessagesRequest(conversation_id=conversation.conversation.id)
    )
    assert [each.answer.assistant.assistant_id for each in listed.messages] == ["", "people", "", "people"]
