"""Filters over gRPC: a real server, a real HTTP provider with scripted answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rag.v1 import conversation_service_pb2 as conversation_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import policy_pb2
from rag_server.app import running_server
from tests.conftest import SettingsFactory
from tests.integration.test_generation_models import COLLECTION, HERON, Rig
from tests.openai_server import OpenAiServer, Stream
from tests.rag_client import RagClient

MAIL = "ana@correo.example"


@pytest.fixture
async def rig(settings: SettingsFactory) -> AsyncIterator[Rig]:
    async with OpenAiServer() as provider:
        models = {
            "providers": {"local": {"base_url": provider.base_url, "attempts": 1}},
            "models": {"small": {"provider": "local", "id": "org/small", "window_tokens": 4096}},
            "aliases": {"default": {"small": 1.0}},
        }
        filters = {"pii_question": "redact", "pii_answer": "redact", "blocklist": ["gran secreto"]}
        made = settings(models=models, filters=filters, server={"health_interval_s": 3600.0})
        async with running_server(made) as running, RagClient(running.address) as client:
            await client.create_collection(COLLECTION)
            await client.ingest_text(COLLECTION, HERON, "heron.txt")
            await client.ingest_text(COLLECTION, f"The keeper of herons is {MAIL}.", "keeper.txt")
            yield Rig(running, client, provider)


async def test_personal_data_is_redacted_before_anything_is_stored_or_sent_and_after(rig: Rig) -> None:
    created = await rig.client.conversations.CreateConversation(conversation_pb.CreateConversationRequest())
    rig.provider.script(Stream.of("Write to a", "na@correo.ex", "ample at dawn [1]."))
    request = generate_pb.StreamGenerateRequest(
        collection_ids=[COLLECTION],
        question=f"Does {MAIL} know when the grey heron waits?",
        conversation_id=created.conversation.id,
        request_id="01234567-89ab-cdef-0123-456789abcdef",
    )
    events = [event async for event in rig.client.generate.StreamGenerate(request, timeout=60)]
    text = "".join(event.delta.text for event in events)
    assert text == "Write to [email] at dawn."
    (citation,) = [event.citation for event in events if event.HasField("citation")]
    assert text[citation.answer_span.start : citation.answer_span.end] == text
    finished = events[-1].finished
    assert finished.reason == generate_pb.FINISH_REASON_COMPLETE
    assert [(each.part, each.kind, each.count) for each in finished.policy.redactions] == [
        (policy_pb2.FILTERED_PART_QUESTION, "email", 1),
        (policy_pb2.FILTERED_PART_ANSWER, "email", 1),
    ]

    (body,) = rig.provider.bodies
    assert body["messages"][-1]["content"].endswith("Does [email] know when the grey heron waits?")
    listed = await rig.client.conversations.ListMessages(
        conversation_pb.ListMessagesRequest(conversation_id=created.conversation.id)
    )
    assert [each.text for each in listed.messages] == [
        "Does [email] know when the grey heron waits?",
        "Write to [email] at dawn.",
    ]
    assert listed.messages[1].answer.policy == finished.policy
    again = [event async for event in rig.client.generate.StreamGenerate(request, timeout=60)]
    assert again[-1].finished.policy == finished.policy
    got = await rig.client.conversations.GetConversation(
        conversation_pb.GetConversationRequest(conversation_id=created.conversation.id)
    )
    assert MAIL not in got.conversation.title


async def test_question_that_is_refused_is_answered_with_a_sentence_and_not_stored(rig: Rig) -> None:
    created = await rig.client.conversations.CreateConversation(conversation_pb.CreateConversationRequest())
    request = generate_pb.GenerateRequest(
        collection_ids=[COLLECTION],
        question="¿Cuál es el GRAN SECRETO de la garza?",
        conversation_id=created.conversation.id,
    )
    response = await rig.client.generate.Generate(request, timeout=60)
    assert response.answer == "Esta pregunta no se puede responder aquí."
    assert response.finish_reason == generate_pb.FINISH_REASON_POLICY
    assert response.policy == policy_pb2.PolicyReport(
        refused_by="blocklist",
        refused_part=policy_pb2.FILTERED_PART_QUESTION,
        message="the filter 'blocklist' refuses the question",
    )
    assert not response.sources
    assert rig.provider.bodies == []
    listed = await rig.client.conversations.ListMessages(
        conversation_pb.ListMessagesRequest(conversation_id=created.conversation.id)
    )
    assert not listed.messages


async def test_answer_that_is_refused_ends_and_stops_the_provider(rig: Rig) -> None:
    rig.provider.script(Stream.of("It waits for the gran ", "secreto ", "of birds. ", hangs=True))
    response = await rig.answer()
    assert response.answer == "It waits for the \n\nThe rest of the answer was withheld."
    assert response.finish_reason == generate_pb.FINISH_REASON_POLICY
    assert response.policy.refused_part == policy_pb2.FILTERED_PART_ANSWER
    await asyncio.wait_for(rig.provider.abandoned.wait(), 30)


async def test_quoting_model_is_filtered_too(rig: Rig) -> None:
    response = await rig.answer("Who is the keeper of herons?", model="extractive")
    assert "[email]" in response.answer
    assert MAIL not in response.answer
    quoted = [response.answer[each.answer_span.start : each.answer_span.end] for each in response.citations]
    assert "The keeper of herons is [email]." in quoted
