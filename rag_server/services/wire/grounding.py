"""Grounding: what it is asked for, and what is told of it."""

from __future__ import annotations

from rag.v1 import grounding_pb2 as pb
from rag_server.domain.generation import FinishReason
from rag_server.domain.grounding import (
    CheckedGrounding,
    Fact,
    FactKind,
    FoundPassages,
    GivenPassages,
    Grounding,
    GroundingOptions,
    GroundingSources,
    NamedChunks,
    SentenceGrounding,
    Support,
)
from rag_server.services.wire.chunk import to_chunk, to_revisions, to_span, to_timings
from rag_server.services.wire.filter import from_filter
from rag_server.validation.defaults import value_or_default

_FACT_KINDS = {FactKind.NUMBER: pb.FACT_KIND_NUMBER, FactKind.NAME: pb.FACT_KIND_NAME}


def from_sources(request: pb.CheckGroundingRequest) -> GroundingSources:
    """Return what a validated request says to judge by."""
    match request.WhichOneof("sources"):
        case "passages":
            return GivenPassages(tuple(request.passages.texts))
        case "chunks":
            return NamedChunks(request.chunks.collection_id, tuple(request.chunks.chunk_ids))
        case _:
            search = request.search
            return FoundPassages(
                tuple(search.collection_ids),
                from_filter(search.filter) if search.HasField("filter") else None,
                value_or_default(search, "chunks_per_sentence"),
            )


def from_grounding(options: pb.GroundingOptions) -> GroundingOptions:
    """Return how an answer is to be judged."""
    return GroundingOptions(options.min_score if options.HasField("min_score") else None)


def to_check_response(checked: CheckedGrounding) -> pb.CheckGroundingResponse:
    """Return the result of a check as a message."""
    chunks = (each.chunk for each in checked.grounding.passages)
    return pb.CheckGroundingResponse(
        grounding=to_grounding(checked.grounding),
        sources=[to_chunk(chunk) for chunk in chunks if chunk is not None],
        collection_revisions=to_revisions(checked.collection_revisions),
        timings=to_timings(checked.timings_us),
    )


def to_grounding(grounding: Grounding | None, reason: FinishReason | None = None) -> pb.Grounding | None:
    """Return a judgement as a message; of an answer that was withheld for `reason` only the figures."""
    if grounding is None:
        return None
    told = pb.Grounding(
        score=grounding.score, supported_share=grounding.supported_share, model=grounding.model
    )
    if reason is not FinishReason.LOW_GROUNDING:
        told.sentences.extend(_to_sentence(each, grounding) for each in grounding.sentences)
    return told


def _to_sentence(sentence: SentenceGrounding, grounding: Grounding) -> pb.SentenceGrounding:
    return pb.SentenceGrounding(
        span=to_span(sentence.span),
        score=sentence.score,
        supports=[_to_support(each, grounding) for each in sentence.supports],
        missing_facts=[_to_fact(each) for each in sentence.missing_facts],
    )


def _to_support(support: Support, grounding: Grounding) -> pb.GroundingSupport:
    passage = grounding.passages[support.passage_index]
    return pb.GroundingSupport(
        source_index=passage.source_index,
        chunk_id="" if passage.chunk is None else passage.chunk.id,
        source_span=to_span(support.span),
        quote=passage.text[support.span.start : support.span.end],
        similarity=support.similarity,
    )


def _to_fact(fact: Fact) -> pb.MissingFact:
    return pb.MissingFact(kind=_FACT_KINDS[fact.kind], span=to_span(fact.span), text=fact.text)
