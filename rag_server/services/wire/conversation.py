"""Conversations, their messages, and how answers are kept: in the contract's own form."""

from __future__ import annotations

from collections.abc import Iterator

from rag.v1 import conversation_pb2, generate_service_pb2
from rag.v1 import conversation_service_pb2 as pb
from rag_server.domain.conversation import Conversation, StoredMessage
from rag_server.domain.generation import Repeated
from rag_server.generation.record import Draft
from rag_server.services.wire.assistant import to_choice
from rag_server.services.wire.chunk import (
    to_degradations,
    to_retrieved,
    to_revisions,
    to_score_scale,
    to_timings,
)
from rag_server.services.wire.expansion import to_searched
from rag_server.services.wire.grounding import to_grounding
from rag_server.services.wire.metadata import to_timestamp
from rag_server.services.wire.policy import to_policy
from rag_server.services.wire.query import to_citation, to_finish_reason
from rag_server.services.wire.turn import to_role

MAX_ANSWER_BYTES = 1024 * 1024
"""From which size on an answer is kept without the texts of the sources that it does not cite; and where that
is not enough, without the places that its grounding points at."""


def to_conversation(conversation: Conversation) -> pb.Conversation:
    """Return a conversation as a message."""
    return pb.Conversation(
        id=conversation.id,
        title=conversation.title,
        language=conversation.language,
        message_count=conversation.message_count,
        create_time=to_timestamp(conversation.create_time),
        update_time=to_timestamp(conversation.update_time),
    )


def to_message(message: StoredMessage) -> pb.Message:
    """Return a stored message as a message."""
    return pb.Message(
        id=message.id,
        conversation_id=message.conversation_id,
        role=to_role(message.role),
        text=message.text,
        create_time=to_timestamp(message.create_time),
        answer=None if message.answer is None else pb.MessageAnswer.FromString(message.answer),
    )


def encode_answer(draft: Draft) -> bytes:
    """Return how a finished answer was made, as `MessageAnswer`, encoded. Blocks for large ones."""
    answer = pb.MessageAnswer(
        question_id=draft.question_id,
        model=draft.model,
        search_question=draft.search_question,
        grounding=to_grounding(draft.grounding, draft.finish_reason),
        assistant=to_choice(draft.assistant),
        searched=to_searched(draft.searched),
        policy=to_policy(draft.policy),
    )
    if draft.finish_reason is not None:
        answer.finish_reason = to_finish_reason(draft.finish_reason)
    if draft.usage is not None:
        answer.usage.prompt_token_count = draft.usage.prompt_token_count
        answer.usage.answer_token_count = draft.usage.answer_token_count
    retrieved = draft.retrieved
    if retrieved is not None:
        answer.sources.extend(to_retrieved(retrieved.sources))
        for source in answer.sources:
            for name in ("signals", "context_before", "context_after"):
                source.ClearField(name)
        answer.citations.extend(to_citation(each, retrieved.sources) for each in draft.citations)
        answer.score_scale = to_score_scale(retrieved.score_scale)
        answer.degradations.extend(to_degradations((*retrieved.degradations, *draft.degradations)))
        answer.collection_revisions.extend(to_revisions(retrieved.collection_revisions))
    if answer.ByteSize() > MAX_ANSWER_BYTES:
        _drop_uncited(answer)
    if answer.ByteSize() > MAX_ANSWER_BYTES:
        for sentence in answer.grounding.sentences:
            sentence.ClearField("supports")
    return answer.SerializeToString()


def _drop_uncited(answer: pb.MessageAnswer) -> None:
    cited = {citation.source_index for citation in answer.citations}
    for index, source in enumerate(answer.sources):
        if index not in cited:
            source.chunk.ClearField("text")
            source.chunk.ClearField("metadata")


def to_repeated(repeated: Repeated) -> Iterator[generate_service_pb2.StreamGenerateResponse]:
    """Yield the events of an answer that was given before."""
    answered, of = repeated.answered, generate_service_pb2
    kept = pb.MessageAnswer.FromString(answered.answer.answer or b"")
    turn = conversation_pb2.Turn(
        conversation_id=answered.conversation_id,
        question_id=answered.question_id,
        answer_id=answered.answer.id,
        search_question=kept.search_question,
    )
    started = of.GenerationStarted(model=kept.model, turn=turn)
    if kept.HasField("assistant"):
        started.assistant.CopyFrom(kept.assistant)
    if kept.HasField("searched"):
        started.searched.CopyFrom(kept.searched)
    yield of.StreamGenerateResponse(started=started)
    retrieved = of.GenerationRetrieved(
        sources=kept.sources,
        score_scale=kept.score_scale,
        degradations=kept.degradations,
        collection_revisions=kept.collection_revisions,
    )
    yield of.StreamGenerateResponse(retrieved=retrieved)
    if answered.answer.text:
        yield of.StreamGenerateResponse(delta=of.AnswerDelta(text=answered.answer.text))
    for citation in kept.citations:
        yield of.StreamGenerateResponse(citation=citation)
    yield of.StreamGenerateResponse(usage=kept.usage)
    finished = of.GenerationFinished(
        reason=kept.finish_reason, timings=to_timings(repeated.timings_us), model=kept.model
    )
    if kept.HasField("grounding"):
        finished.grounding.CopyFrom(kept.grounding)
    if kept.HasField("policy"):
        finished.policy.CopyFrom(kept.policy)
    yield of.StreamGenerateResponse(finished=finished)
