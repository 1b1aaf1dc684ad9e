"""Retrieval and generation requests, responses and events."""

from __future__ import annotations

from collections.abc import Sequence

from rag.v1 import generate_service_pb2, options_pb2, retrieve_service_pb2
from rag_server.domain.generation import (
    AnswerCaching,
    Citation,
    CitationOrigin,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    PromptReport,
    Retrieved,
    Sampling,
    Started,
    Usage,
)
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import QuerySyntax, RetrievalRequest, RetrievalResult, ScoredChunk
from rag_server.services.wire.assistant import QuestionMessage, from_asked, to_choice
from rag_server.services.wire.chunk import (
    to_degradations,
    to_retrieved,
    to_revisions,
    to_score_scale,
    to_span,
    to_timings,
)
from rag_server.services.wire.expansion import from_expansion, from_rewriting, to_searched
from rag_server.services.wire.explanation import to_explanation
from rag_server.services.wire.grounding import from_grounding, to_grounding
from rag_server.services.wire.options import from_options
from rag_server.services.wire.output import from_output
from rag_server.services.wire.policy import to_policy
from rag_server.services.wire.turn import from_history, from_reference, to_turn
from rag_server.validation.defaults import value_or_default

_FINISH_REASONS = {
    FinishReason.COMPLETE: generate_service_pb2.FINISH_REASON_COMPLETE,
    FinishReason.MAX_TOKENS: generate_service_pb2.FINISH_REASON_MAX_TOKENS,
    FinishReason.NO_RELEVANT_CONTENT: generate_service_pb2.FINISH_REASON_NO_RELEVANT_CONTENT,
    FinishReason.LOW_GROUNDING: generate_service_pb2.FINISH_REASON_LOW_GROUNDING,
    FinishReason.POLICY: generate_service_pb2.FINISH_REASON_POLICY,
}
_ORIGINS = {
    CitationOrigin.QUOTE: generate_service_pb2.CITATION_ORIGIN_QUOTE,
    CitationOrigin.MARKER: generate_service_pb2.CITATION_ORIGIN_MARKER,
    CitationOrigin.SIMILARITY: generate_service_pb2.CITATION_ORIGIN_SIMILARITY,
}

_CACHINGS: dict[int, AnswerCaching] = {
    options_pb2.ANSWER_CACHING_ALLOWED: AnswerCaching.ALLOWED,
    options_pb2.ANSWER_CACHING_BYPASSED: AnswerCaching.BYPASSED,
}


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
    options = message.generation
    return GenerationRequest(
        # Quotes and dashes of a question in natural language are not meant as operators.
        retrieval=from_options(
            message.collection_ids, message.question, message.retrieval, default_syntax=QuerySyntax.PLAIN
        ),
        max_tokens=value_or_default(options, "max_answer_tokens"),
        language=options.language,
        model=options.model,
        sampling=Sampling(
            temperature=options.temperature if options.HasField("temperature") else None,
            top_p=options.top_p if options.HasField("top_p") else None,
            seed=options.seed if options.HasField("seed") else None,
            stop=tuple(options.stop),
        ),
        keeps_markers=options.citation_markers == options_pb2.CITATION_MARKERS_KEPT,
        max_cost=options.max_cost if options.HasField("max_cost") else None,
        priority=Priority.BULK
        if options.priority == options_pb2.GENERATION_PRIORITY_BULK
        else Priority.INTERACTIVE,
        grounding=from_grounding(options.grounding) if options.HasField("grounding") else None,
        caching=_CACHINGS.get(options.cache, AnswerCaching.REPEATABLE),
        output=from_output(options.output) if options.HasField("output") else None,
        history=from_history(message.messages),
        conversation=from_reference(message),
        assistant=from_asked(message, from_question),
        expansion=from_expansion(options),
        rewriting=from_rewriting(options),
    )


class AnswerWriter:
    """Turns the events of one answer into messages; knows the sources that citations point into."""

    def __init__(self) -> None:
        self._sources: tuple[ScoredChunk, ...] = ()

    def to_event(self, event: GenerationEvent) -> generate_service_pb2.StreamGenerateResponse:
        """Return an event as a message."""
        pb = generate_service_pb2
        match event:
            case Started(model, prompt, turn):
                started = pb.GenerationStarted(
                    model=model,
                    assistant=to_choice(event.assistant),
                    prompt=_to_report(prompt),
                    turn=to_turn(turn),
                    searched=to_searched(event.searched),
                )
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
            case Finished():
                finished = pb.GenerationFinished(
                    reason=to_finish_reason(event.reason),
                    timings=to_timings(event.timings_us),
                    model=event.model,
                    degradations=to_degradations(event.degradations),
                    prompt=_to_report(event.prompt),
                    grounding=to_grounding(event.grounding, event.reason),
                    policy=to_policy(event.policy),
                    from_cache=event.is_shared,
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
        origin=_ORIGINS[citation.origin],
        similarity=citation.similarity,
    )


def _to_report(report: PromptReport | None) -> generate_service_pb2.PromptReport | None:
    if report is None:
        return None
    return generate_service_pb2.PromptReport(
        token_count=report.token_count,
        is_estimated=report.is_estimated,
        window_tokens=report.window_tokens,
        left_out_sources=report.left_out_sources,
        left_out_message_count=report.left_out_message_count,
        template=report.template,
        max_cost=report.max_cost,
    )


def collect(
    response: generate_service_pb2.GenerateResponse, event: generate_service_pb2.StreamGenerateResponse
) -> None:
    """Add one event of the stream to the response of the unary method."""
    match event.WhichOneof("event"):
        case "started":
            response.model = event.started.model
            if event.started.HasField("assistant"):
                response.assistant.CopyFrom(event.started.assistant)
            if event.started.HasField("turn"):
                response.turn.CopyFrom(event.started.turn)
            if event.started.HasField("searched"):
                response.searched.CopyFrom(event.started.searched)
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
            response.model = event.finished.model
            response.degradations.extend(event.finished.degradations)
            response.from_cache = event.finished.from_cache
            if event.finished.HasField("prompt"):
                response.prompt.CopyFrom(event.finished.prompt)
            if event.finished.HasField("grounding"):
                response.grounding.CopyFrom(event.finished.grounding)
            if event.finished.HasField("policy"):
                response.policy.CopyFrom(event.finished.policy)
