"""Retrieval and generation requests, responses and events."""

from __future__ import annotations

from collections.abc import Sequence

from rag.v1 import generate_service_pb2, retrieve_service_pb2
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Retrieved,
    Started,
    Usage,
)
from rag_server.domain.retrieval import QuerySyntax, RetrievalRequest, RetrievalResult, ScoredChunk
from rag_server.services.wire.chunk import (
    to_degradations,
    to_retrieved,
    to_revisions,
    to_score_scale,
    to_span,
    to_timings,
)
from rag_server.services.wire.explanation import to_explanation
from rag_server.services.wire.options import from_options
from rag_server.services.wire.turn import from_history, from_reference, to_turn
from rag_server.validation.defaults import value_or_default

_FINISH_REASONS = {
    FinishReason.COMPLETE: generate_service_pb2.FINISH_REASON_COMPLETE,
    FinishReason.MAX_TOKENS: generate_service_pb2.FINISH_REASON_MAX_TOKENS,
    FinishReason.NO_RELEVANT_CONTENT: generate_service_pb2.FINISH_REASON_NO_RELEVANT_CONTENT,
}

QuestionMessage = generate_service_pb2.GenerateRequest | generate_service_pb2.StreamGenerateRequest


def from_retrieve(message: retrieve_service_pb2.RetrieveRequest) -> RetrievalRequest:
    """Return a validated request with its defaults filled in."""
    return from_options(
        message.collection_ids, message.query, message.options, default_syntax=QuerySyntax.OPERATORS
    )


def to_retrieve_response(result: RetrievalResult) -> retrieve_service_pb2.RetrieveResponse:
    """Return a result as a message."""
    return retrieve_service_pb2.RetrieveResponse(
        results=to_retrieved(result.results),
        score_scale=to_score_scale(result.score_scale),
        degradations=to_degradations(result.degradations),
        collection_revisions=to_revisions(result.collection_revisions),
        timings=to_timings(result.timings_us),
        explanation=None if result.explanation is None else to_explanation(result.explanation),
    )


def from_question(message: QuestionMessage) -> GenerationRequest:
    """Return a validated question with its defaults filled in."""
    return GenerationRequest(
        # Quotes and dashes of a question in natural language are not meant as operators.
        retrieval=from_options(
            message.collection_ids, message.question, message.retrieval, default_syntax=QuerySyntax.PLAIN
        ),
        max_tokens=value_or_default(message.generation, "max_answer_tokens"),
        language=message.generation.language,
        history=from_history(message.messages),
        conversation=from_reference(message),
    )


class AnswerWriter:
    """Turns the events of one answer into messages; knows the sources that citations point into."""

    def __init__(self) -> None:
        self._sources: tuple[ScoredChunk, ...] = ()

    def to_event(self, event: GenerationEvent) -> generate_service_pb2.StreamGenerateResponse:
        """Return an event as a message."""
        pb = generate_service_pb2
        match event:
            case Started(model, turn):
                started = pb.GenerationStarted(model=model, turn=to_turn(turn))
                return pb.StreamGenerateResponse(started=started)
            case Retrieved():
                self._sources = event.sources
                retrieved = pb.GenerationRetrieved(
                    sources=to_retrieved(event.sources),
                    score_scale=to_score_scale(event.score_scale),
                    degradations=to_degradations(event.degradations),
                    collection_revisions=to_revisions(event.collection_revisions),
                )
                return pb.StreamGenerateResponse(retrieved=retrieved)
            case Delta(text):
                return pb.StreamGenerateResponse(delta=pb.AnswerDelta(text=text))
            case Cited(citation):
                return pb.StreamGenerateResponse(citation=to_citation(citation, self._sources))
            case Usage(prompt, answer):
                usage = pb.Usage(prompt_token_count=prompt, answer_token_count=answer)
                return pb.StreamGenerateResponse(usage=usage)
            case Finished(reason, timings_us):
                finished = pb.GenerationFinished(
                    reason=to_finish_reason(reason), timings=to_timings(timings_us)
                )
                return pb.StreamGenerateResponse(finished=finished)


def to_finish_reason(reason: FinishReason) -> generate_service_pb2.FinishReason.ValueType:
    """Return a reason as the contract names it."""
    return _FINISH_REASONS[reason]


def to_citation(citation: Citation, sources: Sequence[ScoredChunk]) -> generate_service_pb2.Citation:
    """Return a citation that points into `sources` as a message."""
    chunk = sources[citation.source_index].chunk
    return generate_service_pb2.Citation(
        source_index=citation.source_index,
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        answer_span=to_span(citation.answer_span),
        source_span=to_span(citation.source_span),
        quote=citation.quote,
    )


def collect(
    response: generate_service_pb2.GenerateResponse, event: generate_service_pb2.StreamGenerateResponse
) -> None:
    """Add one event of the stream to the response of the unary method."""
    match event.WhichOneof("event"):
        case "started":
            response.model = event.started.model
            if event.started.HasField("turn"):
                response.turn.CopyFrom(event.started.turn)
        case "retrieved":
            response.sources.extend(event.retrieved.sources)
            response.score_scale = event.retrieved.score_scale
            response.degradations.extend(event.retrieved.degradations)
            response.collection_revisions.extend(event.retrieved.collection_revisions)
        case "delta":
            response.answer += event.delta.text
        case "citation":
            response.citations.append(event.citation)
        case "usage":
            response.usage.CopyFrom(event.usage)
        case "finished":
            response.finish_reason = event.finished.reason
            response.timings.CopyFrom(event.finished.timings)
