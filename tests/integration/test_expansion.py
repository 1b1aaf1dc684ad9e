"""Questions that a model expands and rewrites: a real server, a real HTTP provider with scripted answers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio

from rag.v1 import conversation_pb2, expansion_pb2, fusion_pb2, options_pb2, retrieved_chunk_pb2
from rag.v1 import conversation_service_pb2 as conversation_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import running_server
from tests.conftest import make_settings
from tests.openai_server import Hang, OpenAiServer, Status, Stream
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = grpc.StatusCode
COLLECTION = "birds"
HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs."
BREAD = "Rye bread needs a long fermentation in a warm kitchen."
CRANE = "The white crane dances at the lake in spring."
QUESTION = "When does the grey heron wait by the river?"
LEXICAL = options_pb2.RetrievalOptions(fusion=fusion_pb2.Fusion(adaptive={"dense_weight": 0}))
NO_EXPANSION = retrieved_chunk_pb2.DEGRADATION_NO_EXPANSION
NO_REWRITE = retrieved_chunk_pb2.DEGRADATION_NO_REWRITE


@dataclass
class Rig:
    """A server with three documents, the provider of its model, and that of the model that gives titles."""

    client: RagClient
    provider: OpenAiServer
    namer: OpenAiServer

    def request(
        self, question: str = QUESTION, *, retrieval: Any = None, fields: Any = None, **generation: Any
    ) -> generate_pb.GenerateRequest:
        return generate_pb.GenerateRequest(
            collection_ids=[COLLECTION],
            question=question,
            retrieval=retrieval,
            generation=options_pb2.GenerationOptions(**{"max_answer_tokens": 64, **generation}),
            **(fields or {}),
        )

    async def answer(self, question: str = QUESTION, **options: Any) -> generate_pb.GenerateResponse:
        return await self.client.generate.Generate(self.request(question, **options), timeout=120)

    def prompt(self, index: int) -> str:
        return "\n".join(each["content"] for each in self.provider.bodies[index]["messages"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Run one server for all tests of this module."""
    async with OpenAiServer() as provider, OpenAiServer(Stream.of('"Herons at dawn."')) as namer:
        local = {"base_url": provider.base_url, "attempts": 1}
        other = {"base_url": namer.base_url, "attempts": 1}
        small = {"provider": "local", "id": "org/small", "window_tokens": 4096}
        models = {
            "providers": {"local": local, "other": other},
            "models": {
                "small": {**small, "prompt_price": 1.0, "answer_price": 2.0},
                "namer": {**small, "provider": "other"},
            },
            "aliases": {"default": {"small": 1.0}},
        }
        made = make_settings(
            tmp_path_factory.mktemp("server"),
            models=models,
            conversations={"title_model": "namer"},
            server={"health_interval_s": 3600.0},
        )
        async with running_server(made) as running, RagClient(running.address) as client:
            await client.create_collection(COLLECTION)
            for name, text in (("heron", HERON), ("bread", BREAD), ("crane", CRANE)):
                await client.ingest_text(COLLECTION, text, name)
            yield Rig(client, provider, namer)


@pytest_asyncio.fixture(loop_scope="module")
async def rig(shared: Rig) -> Rig:
    """Return the server with a provider that remembers nothing of other tests."""
    for provider in (shared.provider, shared.namer):
        provider.bodies.clear()
        provider.reached.clear()
        provider.abandoned.clear()
    return shared


def expansion(**method: Any) -> expansion_pb2.QueryExpansion:
    return expansion_pb2.QueryExpansion(**method)


async def test_queries_of_a_model_find_more_and_are_told_and_paid_for(rig: Rig) -> None:
    rig.provider.script(
        Stream.of("1. Warm kitchen\n2. ", "Dancing in spring\n3. Too many", usage=(20, 6)),
        Stream.of("At dawn [1].", usage=(90, 4)),
    )
    response = await rig.answer(retrieval=LEXICAL, expansion=expansion(multi_query={"query_count": 2}))
    assert response.answer == "At dawn."
    assert list(response.searched.queries) == [QUESTION, "Warm kitchen", "Dancing in spring"]
    assert (response.searched.model, list(response.searched.passages)) == ("small", [])
    assert {each.chunk.document_id for each in response.sources} == {"heron", "bread", "crane"}
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_RRF
    assert not response.degradations
    assert response.usage == generate_pb.Usage(prompt_token_count=110, answer_token_count=10)
    stages = [each.stage for each in response.timings.stages]
    assert stages[0] == "expand"
    assert {"search", "fuse", "prompt", "generate"} <= set(stages)
    assert QUESTION in rig.prompt(0)
    assert rig.prompt(1).endswith(f"Question: {QUESTION}")


async def test_passages_of_a_model_are_embedded_with_the_question(rig: Rig) -> None:
    rig.provider.script(Stream.of("Rye bread ferments for long."), Stream.of("NO_RELEVANT_CONTENT"))
    request = rig.request("zzz", expansion=expansion(hyde={}))
    stream = rig.client.generate.StreamGenerate(
        generate_pb.StreamGenerateRequest.FromString(request.SerializeToString()), timeout=120
    )
    events = [event async for event in stream]
    started, retrieved = events[0].started, events[1].retrieved
    assert list(started.searched.passages) == ["Rye bread ferments for long."]
    assert list(started.searched.queries) == ["zzz"]
    assert retrieved.sources[0].chunk.document_id == "bread"
    assert events[-1].finished.reason == generate_pb.FINISH_REASON_NO_RELEVANT_CONTENT


async def test_parts_of_a_question_take_turns_among_the_sources(rig: Rig) -> None:
    rig.provider.script(
        Stream.of("Where does the crane dance?\nWhat does rye bread need?"), Stream.of("Yes.")
    )
    response = await rig.answer(
        "Where does the crane dance, and what does rye bread need?",
        retrieval=options_pb2.RetrievalOptions(top_k=2),
        expansion=expansion(decomposition={}),
        model="small",
    )
    assert {each.chunk.document_id for each in response.sources} == {"crane", "bread"}
    assert len(response.searched.queries) == 3


@pytest.mark.parametrize("behaviour", [Status(500), Stream.of("")], ids=["down", "says nothing"])
async def test_model_that_cannot_expand_leaves_the_question_alone(rig: Rig, behaviour: Any) -> None:
    rig.provider.script(behaviour, Stream.of("At dawn [1]."))
    response = await rig.answer(expansion=expansion(multi_query={}))
    assert response.answer == "At dawn."
    assert list(response.degradations) == [NO_EXPANSION]
    assert not response.HasField("searched")


async def test_expansion_for_an_answer_in_quotes_needs_a_model_that_writes(rig: Rig) -> None:
    failed = await failure(
        rig.client.generate.Generate(rig.request(model="extractive", expansion=expansion(hyde={})))
    )
    assert (failed.code, failed.reason) == (CODE.INVALID_ARGUMENT, "MODEL_CANNOT_WRITE")
    assert list(failed.violations) == ["generation.expansion"]
    rig.provider.script(Stream.of("The white crane\nRye bread"))
    response = await rig.answer(model="extractive", expansion=expansion(multi_query={}, model="small"))
    assert response.model == "extractive"
    assert list(response.searched.queries)[1:] == ["The white crane", "Rye bread"]
    assert response.answer.startswith("The grey heron waits")


async def test_expansion_that_is_wrong_is_refused_before_any_model_is_asked(rig: Rig) -> None:
    cases = [
        (rig.request(expansion=expansion(hyde={}, model="gpt")), "generation.expansion.model"),
        (rig.request(expansion=expansion(model="small")), "generation.expansion.method"),
        (rig.request(expansion=expansion(hyde={}), retrieval=LEXICAL), "generation.expansion.hyde"),
        (rig.request(expansion=expansion(hyde={}), max_cost=0.00001), "generation.max_cost"),
    ]
    for request, field in cases:
        failed = await failure(rig.client.generate.Generate(request))
        assert (failed.code, list(failed.violations)) == (CODE.INVALID_ARGUMENT, [field])
    assert not rig.provider.bodies


async def test_what_the_expansion_has_cost_counts_towards_the_limit(rig: Rig) -> None:
    rig.provider.script(Stream.of("Other words", usage=(900, 0)))
    # enough for the question to be expanded (about 300 tokens of a prompt and 64 of an answer), not for both
    request = rig.request(max_cost=0.001, expansion=expansion(multi_query={"query_count": 1}))
    failed = await failure(rig.client.generate.Generate(request))
    assert (failed.reason, list(failed.violations)) == ("COST_LIMIT_EXCEEDED", ["generation.max_cost"])
    assert len(rig.provider.bodies) == 1


async def test_caller_that_leaves_aborts_the_expansion_at_the_provider(rig: Rig) -> None:
    rig.provider.script(Hang())
    call = rig.client.generate.Generate(rig.request(expansion=expansion(hyde={})), timeout=120)
    await asyncio.wait_for(rig.provider.reached.wait(), 60)
    call.cancel()
    await asyncio.wait_for(rig.provider.abandoned.wait(), 60)


def said(*texts: str) -> dict[str, Any]:
    roles = [conversation_pb2.MESSAGE_ROLE_USER, conversation_pb2.MESSAGE_ROLE_ASSISTANT]
    return {
        "messages": [
            conversation_pb2.HistoryMessage(role=roles[index % 2], text=text)
            for index, text in enumerate(texts)
        ]
    }


async def test_follow_up_is_rewritten_by_the_model_then_expanded(rig: Rig) -> None:
    rig.provider.script(
        Stream.of("What does the grey heron eat?", usage=(30, 6)),
        Stream.of("Food of herons", usage=(20, 3)),
        Stream.of("Fish [1].", usage=(90, 2)),
    )
    response = await rig.answer(
        "And what does it eat?",
        fields=said(QUESTION, "At dawn."),
        expansion=expansion(multi_query={"query_count": 1}),
    )
    assert response.turn.search_question == "What does the grey heron eat?"
    assert list(response.searched.queries) == ["What does the grey heron eat?", "Food of herons"]
    assert response.usage == generate_pb.Usage(prompt_token_count=140, answer_token_count=11)
    assert [each.stage for each in response.timings.stages][:3] == ["history", "rewrite", "expand"]
    assert f"User: {QUESTION}\nAssistant: At dawn." in rig.prompt(0)
    assert rig.prompt(2).endswith("Question: And what does it eat?")


async def test_what_was_searched_with_stays_with_an_answer_in_its_conversation(rig: Rig) -> None:
    created = await rig.client.conversations.CreateConversation(conversation_pb.CreateConversationRequest())
    fields = {"conversation_id": created.conversation.id, "request_id": str(uuid.uuid4())}
    rig.provider.script(Stream.of("Food of herons"), Stream.of("At dawn [1]."))
    expanded = expansion(multi_query={"query_count": 1})
    first = await rig.answer(fields=fields, expansion=expanded)
    again = await rig.answer(fields=fields, expansion=expanded)
    listed = await rig.client.conversations.ListMessages(
        conversation_pb.ListMessagesRequest(conversation_id=created.conversation.id)
    )
    assert list(first.searched.queries) == [QUESTION, "Food of herons"]
    assert first.searched == again.searched == listed.messages[1].answer.searched


async def test_model_that_cannot_rewrite_leaves_it_to_the_rules_and_the_stored_answer_says_so(
    rig: Rig,
) -> None:
    created = await rig.client.conversations.CreateConversation(conversation_pb.CreateConversationRequest())
    fields = {"conversation_id": created.conversation.id}
    rig.provider.script(Stream.of("At dawn [1]."), Status(500), Stream.of("Fish [1]."))
    await rig.answer(fields=fields)
    response = await rig.answer("And what does it eat?", fields=fields)
    assert response.turn.search_question.startswith("And what does it eat? ")
    assert list(response.degradations) == [NO_REWRITE]
    listed = await rig.client.conversations.ListMessages(
        conversation_pb.ListMessagesRequest(conversation_id=created.conversation.id)
    )
    assert list(listed.messages[-1].answer.degradations) == [NO_REWRITE]


async def test_request_chooses_who_rewrites(rig: Rig) -> None:
    history = said(QUESTION, "At dawn.")
    rules = expansion_pb2.QuestionRewriting(rules={})
    response = await rig.answer("And what does it eat?", fields=history, rewriting=rules)
    assert response.turn.search_question.startswith("And what does it eat? ")
    none = expansion_pb2.QuestionRewriting(none={})
    response = await rig.answer("And what does it eat?", fields=history, rewriting=none)
    assert not response.turn.search_question
    assert len(rig.provider.bodies) == 2
    model = expansion_pb2.QuestionRewriting(model={"model": "extractive"})
    failed = await failure(rig.client.generate.Generate(rig.request(fields=history, rewriting=model)))
    assert (failed.reason, list(failed.violations)) == (
        "MODEL_CANNOT_WRITE",
        ["generation.rewriting.model.model"],
    )


async def title_of(rig: Rig, conversation_id: str) -> str:
    request = conversation_pb.GetConversationRequest(conversation_id=conversation_id)
    return (await rig.client.conversations.GetConversation(request)).conversation.title


async def test_conversation_is_named_by_the_model_after_its_first_answer(rig: Rig) -> None:
    created = await rig.client.conversations.CreateConversation(conversation_pb.CreateConversationRequest())
    fields = {"conversation_id": created.conversation.id}
    rig.provider.script(Stream.of("At dawn [1]."))
    await rig.answer(fields=fields)
    async with asyncio.timeout(60):
        while await title_of(rig, created.conversation.id) != "Herons at dawn":  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
    (body,) = rig.namer.bodies
    assert f"User: {QUESTION}\nAssistant: At dawn." in body["messages"][1]["content"]
    rewriting = expansion_pb2.QuestionRewriting(none={})
    await rig.answer("Another question?", fields=fields, rewriting=rewriting)
    assert len(rig.namer.bodies) == 1
