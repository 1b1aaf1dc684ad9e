"""Conversations over gRPC: kept, continued, idempotent, one question at a time, bounded."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import conversation_pb2
from rag.v1 import conversation_service_pb2 as pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.backends.extractive.generator import ExtractiveGenerator
from rag_server.domain.generation import Prompt
from rag_server.services import conversations as servicer
from tests.rag_client import RagClient, ServerUnderTest, failure, failure_of, next_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

USER, ASSISTANT = conversation_pb2.MESSAGE_ROLE_USER, conversation_pb2.MESSAGE_ROLE_ASSISTANT
FIRST = "How many days of annual leave do employees get?"
FOLLOW_UP = "And in Chile?"
OTHER = "In which Chilean city does the office stand above the harbour?"
GERMAN_LEAVE = "Employees in Germany get 30 days of annual leave per year."
CHILEAN_LEAVE = "Employees in Chile get 15 days of annual leave per year."
CHILEAN_OFFICE = "The office in Chile stands in Valparaíso, above the harbour."


async def fill(client: RagClient, collection: str) -> None:
    """Hand in what the questions are about."""
    for name, text in (("de", GERMAN_LEAVE), ("cl", CHILEAN_LEAVE), ("office", CHILEAN_OFFICE)):
        await client.ingest_text(collection, text, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def handbook(server: ServerUnderTest) -> str:
    """Return a collection that the questions are about, and that stays as it is."""
    name = f"handbook-{uuid.uuid4().hex[:12]}"
    await server.client.create_collection(name)
    await fill(server.client, name)
    return name


async def created(client: RagClient, **fields: Any) -> pb.Conversation:
    request = pb.CreateConversationRequest(conversation=pb.Conversation(**fields))
    return (await client.conversations.CreateConversation(request)).conversation


async def shown(client: RagClient, conversation_id: str) -> pb.Conversation:
    request = pb.GetConversationRequest(conversation_id=conversation_id)
    return (await client.conversations.GetConversation(request)).conversation


async def messages(client: RagClient, conversation_id: str, **fields: Any) -> pb.ListMessagesResponse:
    return await client.conversations.ListMessages(
        pb.ListMessagesRequest(conversation_id=conversation_id, **fields)
    )


def asking(collection: str, question: str, **fields: Any) -> generate_pb.GenerateRequest:
    return generate_pb.GenerateRequest(collection_ids=[collection], question=question, **fields)


async def ask(
    client: RagClient, collection: str, question: str, **fields: Any
) -> generate_pb.GenerateResponse:
    return await client.generate.Generate(asking(collection, question, **fields))


def streamed(client: RagClient, collection: str, question: str, **fields: Any) -> Any:
    request = generate_pb.StreamGenerateRequest(collection_ids=[collection], question=question, **fields)
    return client.generate.StreamGenerate(request)


class Gate:
    """Answers to `FIRST` wait here until it is open; others pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = asyncio.Event()
        self.reached = asyncio.Event()
        generate = ExtractiveGenerator.generate

        async def gated(generator: ExtractiveGenerator, prompt: Prompt) -> AsyncGenerator[Any, None]:
            if prompt.request.question == FIRST:
                self.reached.set()
                await self.is_open.wait()
            async with aclosing(generate(generator, prompt)) as events:
                async for event in events:
                    yield event

        monkeypatch.setattr(ExtractiveGenerator, "generate", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def test_conversation_is_shown_as_it_was_created(client: RagClient) -> None:
    conversation = await created(client, title="Leave")
    assert await shown(client, conversation.id) == conversation
    assert (conversation.title, conversation.language, conversation.message_count) == ("Leave", "", 0)
    assert conversation.create_time == conversation.update_time


async def test_create_with_a_request_id_makes_one_conversation(client: RagClient) -> None:
    request = pb.CreateConversationRequest(request_id=str(uuid.uuid4()))
    first = await client.conversations.CreateConversation(request)
    assert await client.conversations.CreateConversation(request) == first
    request.conversation.title = "Another"
    refused = await failure(client.conversations.CreateConversation(request))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_list_is_paged_and_begins_with_what_changed_last(client: RagClient) -> None:
    made = [(await created(client, title=f"T{number}")).id for number in range(3)]
    update = pb.UpdateConversationRequest(
        conversation_id=made[0],
        conversation=pb.Conversation(title="New"),
        update_mask=FieldMask(paths=["title"]),
    )
    assert (await client.conversations.UpdateConversation(update)).conversation.title == "New"
    listed: list[str] = []
    token = ""
    while len(listed) < len(made):
        response = await client.conversations.ListConversations(
            pb.ListConversationsRequest(page_size=2, page_token=token)
        )
        listed += [each.id for each in response.conversations]
        token = response.next_page_token
        if not token:
            break
    assert listed[:3] == [made[0], made[2], made[1]]


async def test_deleted_conversation_is_gone(client: RagClient, handbook: str) -> None:
    conversation = await created(client)
    await ask(client, handbook, FIRST, conversation_id=conversation.id)
    request = pb.DeleteConversationRequest(conversation_id=conversation.id)
    await client.conversations.DeleteConversation(request)
    for call in (
        client.conversations.GetConversation(pb.GetConversationRequest(conversation_id=conversation.id)),
        client.conversations.ListMessages(pb.ListMessagesRequest(conversation_id=conversation.id)),
        client.conversations.DeleteConversation(request),
        client.generate.Generate(asking(handbook, FIRST, conversation_id=conversation.id)),
        streamed(client, handbook, FIRST, conversation_id=conversation.id),
    ):
        refused = await failure(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")
        assert refused.metadata == {"resource": "conversation", "id": conversation.id}


async def test_question_and_answer_are_recorded_as_they_were_told(client: RagClient, handbook: str) -> None:
    conversation = await created(client)
    response = await ask(client, handbook, FIRST, conversation_id=conversation.id)
    page = await messages(client, conversation.id)
    question, answer = page.messages
    assert not page.next_page_token
    assert response.turn.conversation_id == conversation.id
    assert (response.turn.question_id, response.turn.answer_id) == (question.id, answer.id)
    assert (question.role, question.text, question.HasField("answer")) == (USER, FIRST, False)
    assert (answer.role, answer.text) == (ASSISTANT, response.answer)
    kept = answer.answer
    assert kept.question_id == question.id
    assert (kept.model, kept.finish_reason) == (response.model, response.finish_reason)
    assert (kept.usage, kept.score_scale) == (response.usage, response.score_scale)
    assert list(kept.citations) == list(response.citations)
    assert list(kept.collection_revisions) == list(response.collection_revisions)
    assert [each.chunk for each in kept.sources] == [each.chunk for each in response.sources]
    assert [each.score for each in kept.sources] == [each.score for each in response.sources]
    assert not any(each.HasField("signals") for each in kept.sources)
    now = await shown(client, conversation.id)
    assert (now.title, now.language, now.message_count) == (FIRST, "en", 2)
    stages = [each.stage for each in response.timings.stages]
    assert stages[:2] == ["history", "rewrite"]
    assert stages[-2:] == ["generate", "record"]


async def test_sources_stay_as_they_were_when_their_document_is_replaced(
    client: RagClient, collection: str
) -> None:
    await fill(client, collection)
    conversation = await created(client)
    response = await ask(client, collection, FIRST, conversation_id=conversation.id)
    cited = response.citations[0].document_id
    await client.ingest_text(collection, "Nothing of it holds any more.", cited)
    _, answer = (await messages(client, conversation.id)).messages
    source = answer.answer.sources[answer.answer.citations[0].source_index].chunk
    assert answer.answer.citations[0].quote in source.text
    assert source.document_id == cited


async def test_follow_up_is_answered_with_what_was_asked_before(client: RagClient, handbook: str) -> None:
    conversation = await created(client)
    await ask(client, handbook, FIRST, conversation_id=conversation.id)
    response = await ask(client, handbook, FOLLOW_UP, conversation_id=conversation.id)
    assert response.turn.search_question.startswith(FOLLOW_UP)
    assert "leave" in response.turn.search_question
    assert (response.turn.history_message_count, response.turn.history_left_out_count) == (2, 0)
    assert response.answer.splitlines()[0] == CHILEAN_LEAVE
    listed = (await messages(client, conversation.id)).messages
    assert [each.text for each in listed][::2] == [FIRST, FOLLOW_UP]
    assert listed[3].answer.search_question == response.turn.search_question


async def test_question_that_makes_sense_alone_is_searched_with_as_it_is(
    client: RagClient, handbook: str
) -> None:
    conversation = await created(client)
    await ask(client, handbook, FIRST, conversation_id=conversation.id)
    response = await ask(client, handbook, OTHER, conversation_id=conversation.id)
    assert response.turn.search_question == ""
    assert response.answer.splitlines()[0] == CHILEAN_OFFICE


async def test_inline_history_works_like_a_stored_one_and_stores_nothing(
    client: RagClient, handbook: str
) -> None:
    before = (await client.conversations.ListConversations(pb.ListConversationsRequest())).conversations
    history = [
        conversation_pb2.HistoryMessage(role=USER, text=FIRST),
        conversation_pb2.HistoryMessage(role=ASSISTANT, text=GERMAN_LEAVE),
    ]
    response = await ask(client, handbook, FOLLOW_UP, messages=history)
    assert response.answer.splitlines()[0] == CHILEAN_LEAVE
    assert response.turn.history_message_count == 2
    assert not response.turn.conversation_id
    after = (await client.conversations.ListConversations(pb.ListConversationsRequest())).conversations
    assert list(after) == list(before)


async def test_question_that_continues_nothing_has_no_turn(client: RagClient, handbook: str) -> None:
    response = await ask(client, handbook, FIRST)
    assert not response.HasField("turn")
    assert "record" not in {each.stage for each in response.timings.stages}


async def test_stream_tells_the_turn_first_and_records_before_it_ends(
    client: RagClient, handbook: str
) -> None:
    conversation = await created(client)
    events = [each async for each in streamed(client, handbook, FIRST, conversation_id=conversation.id)]
    started, *_, finished = events
    question, answer = (await messages(client, conversation.id)).messages
    assert started.started.turn.question_id == question.id
    assert started.started.turn.answer_id == answer.id
    assert finished.HasField("finished")
    assert answer.text == "".join(each.delta.text for each in events)


async def test_language_of_a_follow_up_is_that_of_the_question(client: RagClient, handbook: str) -> None:
    conversation = await created(client)
    await ask(client, handbook, "¿Cuántos días de vacaciones anuales hay?", conversation_id=conversation.id)
    about_nothing = "And what about the zeppelins?"
    response = await ask(client, handbook, about_nothing, conversation_id=conversation.id)
    assert response.finish_reason == generate_pb.FINISH_REASON_NO_RELEVANT_CONTENT
    alone = await ask(client, handbook, "What about quantum zeppelins and their dirigible pilots?")
    assert response.answer == alone.answer  # the phrase of abstention, in English


async def test_call_that_comes_again_gets_the_recorded_answer_again(client: RagClient, handbook: str) -> None:
    conversation = await created(client)
    fields = {"conversation_id": conversation.id, "request_id": str(uuid.uuid4())}
    first = await ask(client, handbook, FIRST, **fields)
    again = await ask(client, handbook, FIRST, **fields)
    assert (again.answer, list(again.citations)) == (first.answer, list(first.citations))
    assert (again.turn.question_id, again.turn.answer_id) == (first.turn.question_id, first.turn.answer_id)
    assert [each.chunk.id for each in again.sources] == [each.chunk.id for each in first.sources]
    events = [each async for each in streamed(client, handbook, FIRST, **fields)]
    assert [each.WhichOneof("event") for each in events[:3]] == ["started", "retrieved", "delta"]
    assert events[2].delta.text == first.answer
    assert events[-1].finished.reason == first.finish_reason
    assert (await shown(client, conversation.id)).message_count == 2
    refused = await failure(client.generate.Generate(asking(handbook, FOLLOW_UP, **fields)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_second_question_is_refused_until_the_first_is_answered(
    client: RagClient, handbook: str, gate: Gate
) -> None:
    conversation = await created(client)
    first = asyncio.ensure_future(
        client.generate.Generate(asking(handbook, FIRST, conversation_id=conversation.id))
    )
    await gate.reached.wait()
    refused = await failure(
        client.generate.Generate(asking(handbook, FOLLOW_UP, conversation_id=conversation.id))
    )
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "CONVERSATION_BUSY")
    assert refused.retry_after_s is not None
    gate.is_open.set()
    await first
    await ask(client, handbook, FOLLOW_UP, conversation_id=conversation.id)
    listed = [each.text for each in (await messages(client, conversation.id)).messages]
    assert listed[::2] == [FIRST, FOLLOW_UP]


async def test_conversations_do_not_wait_for_each_other(client: RagClient, handbook: str, gate: Gate) -> None:
    one, two = await created(client), await created(client)
    waiting = asyncio.ensure_future(client.generate.Generate(asking(handbook, FIRST, conversation_id=one.id)))
    await gate.reached.wait()
    assert (await ask(client, handbook, OTHER, conversation_id=two.id)).answer
    assert not waiting.done()
    gate.is_open.set()
    assert (await waiting).answer


async def asked_until_free(
    client: RagClient, collection: str, conversation_id: str
) -> generate_pb.GenerateResponse:
    """Ask until the server, which hears of a caller's leaving a moment later, has freed the conversation."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask(client, collection, OTHER, conversation_id=conversation_id)
            except grpc.aio.AioRpcError as error:
                if failure_of(error).reason != "CONVERSATION_BUSY":
                    raise
            await asyncio.sleep(0.01)


async def test_answer_that_is_cancelled_leaves_its_question_and_frees_the_conversation(
    client: RagClient, handbook: str, gate: Gate
) -> None:
    conversation = await created(client)
    call = streamed(client, handbook, FIRST, conversation_id=conversation.id)
    assert (await next_of(call)).HasField("started")
    await gate.reached.wait()
    call.cancel()
    response = await asked_until_free(client, handbook, conversation.id)
    listed = (await messages(client, conversation.id)).messages
    assert [(each.role, each.text) for each in listed] == [
        (USER, FIRST),
        (USER, OTHER),
        (ASSISTANT, response.answer),
    ]
    assert (response.turn.history_message_count, response.turn.history_left_out_count) == (0, 1)


async def test_answer_whose_deadline_passes_is_not_recorded_and_frees_the_conversation(
    client: RagClient, handbook: str, gate: Gate
) -> None:
    conversation = await created(client)
    request = asking(handbook, FIRST, conversation_id=conversation.id)
    late = await failure_code(client.generate.Generate(request, timeout=1.0))
    assert late is grpc.StatusCode.DEADLINE_EXCEEDED
    response = await asked_until_free(client, handbook, conversation.id)
    *before, question, answer = (await messages(client, conversation.id)).messages
    assert (question.text, answer.text) == (OTHER, response.answer)
    # how far it came by then is up to the machine; no answer was recorded
    assert [(each.role, each.text) for each in before] in ([], [(USER, FIRST)])


async def failure_code(call: Any) -> grpc.StatusCode:
    """Return the status of a call that fails, perhaps before the server says anything."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code


@pytest.mark.parametrize("call", ["Generate", "StreamGenerate"])
async def test_question_of_an_absent_conversation_is_refused_naming_the_field(
    client: RagClient, handbook: str, call: str
) -> None:
    request = {"Generate": generate_pb.GenerateRequest, "StreamGenerate": generate_pb.StreamGenerateRequest}[
        call
    ]
    asked = request(collection_ids=[handbook], question=FIRST, conversation_id="absent")
    refused = await failure(getattr(client.generate, call)(asked))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    assert list(refused.violations) == ["conversation_id"]


async def test_question_that_is_refused_leaves_no_message(client: RagClient) -> None:
    conversation = await created(client)
    refused = await failure(
        client.generate.Generate(asking("no-such-collection", FIRST, conversation_id=conversation.id))
    )
    assert refused.reason == "COLLECTION_NOT_FOUND"
    now = await shown(client, conversation.id)
    assert (now.message_count, now.title) == (0, "")


async def test_conversation_deleted_while_it_is_answered_ends_the_answer(
    client: RagClient, handbook: str, gate: Gate
) -> None:
    conversation = await created(client)
    call = streamed(client, handbook, FIRST, conversation_id=conversation.id)
    await next_of(call)
    await gate.reached.wait()
    await client.conversations.DeleteConversation(
        pb.DeleteConversationRequest(conversation_id=conversation.id)
    )
    gate.is_open.set()
    refused = await failure(call)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")


async def test_messages_are_paged_by_number_and_by_size(
    client: RagClient, handbook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await created(client)
    for question in (FIRST, FOLLOW_UP):
        await ask(client, handbook, question, conversation_id=conversation.id)

    async def pages(page_size: int) -> list[list[str]]:
        found, token = [], ""
        while not found or token:
            page = await messages(client, conversation.id, page_size=page_size, page_token=token)
            found.append([each.id for each in page.messages])
            token = page.next_page_token
        return found

    (everything,) = await pages(4)
    assert [len(page) for page in await pages(3)] == [3, 1]
    monkeypatch.setattr(servicer, "MAX_PAGE_BYTES", 1)
    assert await pages(4) == [[each] for each in everything]


async def test_page_token_of_another_conversation_is_refused(client: RagClient, handbook: str) -> None:
    one, two = await created(client), await created(client)
    await ask(client, handbook, FIRST, conversation_id=one.id)
    token = (await messages(client, one.id, page_size=1)).next_page_token
    refused = await failure(
        client.conversations.ListMessages(pb.ListMessagesRequest(conversation_id=two.id, page_token=token))
    )
    assert refused.reason == "INVALID_PAGE_TOKEN"


def said(text: str) -> conversation_pb2.HistoryMessage:
    return conversation_pb2.HistoryMessage(role=USER, text=text)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"conversation_id": "x", "messages": [said("a")]}, "messages"),
        ({"messages": [said("a"), said("")]}, "messages[1].text"),
        ({"messages": [said("a"), said(" \n")]}, "messages[1].text"),
        ({"messages": [conversation_pb2.HistoryMessage(text="a")]}, "messages[0].role"),
        ({"messages": [said("a")] * 101}, "messages"),
        ({"messages": [said("x" * 32_768)] * 9}, "messages"),
        ({"request_id": str(uuid.uuid4())}, "request_id"),
    ],
)
async def test_history_that_cannot_be_is_refused_naming_the_field(
    client: RagClient, fields: dict[str, Any], field: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: client.generate.Generate(asking("any", FIRST, **fields)),
        lambda: streamed(client, "any", FIRST, **fields),
    ]
    for call in calls:
        refused = await failure(call())
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert list(refused.violations) == [field]


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (
            lambda: pb.CreateConversationRequest(conversation=pb.Conversation(title="a\nb")),
            "conversation.title",
        ),
        (
            lambda: pb.CreateConversationRequest(conversation=pb.Conversation(title="a" * 201)),
            "conversation.title",
        ),
    ],
)
async def test_title_that_cannot_be_is_refused(client: RagClient, request_of: Any, field: str) -> None:
    refused = await failure(client.conversations.CreateConversation(request_of()))
    assert list(refused.violations) == [field]


@pytest.mark.parametrize(("paths", "field"), [([], "update_mask"), (["language"], "update_mask.paths[0]")])
async def test_update_of_what_cannot_change_is_refused(
    client: RagClient, paths: list[str], field: str
) -> None:
    request = pb.UpdateConversationRequest(
        conversation_id="x", conversation=pb.Conversation(), update_mask=FieldMask(paths=paths)
    )
    refused = await failure(client.conversations.UpdateConversation(request))
    assert list(refused.violations) == [field]
