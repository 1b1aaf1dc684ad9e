"""What makes two answers the same one: all that a model is given, and who asks."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from rag_server.backends.protocols import GeneratorModel
from rag_server.domain.generation import AnswerCaching, GenerationRequest, Preparation
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import Leg, RetrievalRequest, ScoredChunk
from rag_server.generation.compose import Composed

_VERSION: Final = 1
"""Of the key and of the form in which answers are kept. Another form gets another number."""


def may_be_shared(request: GenerationRequest, model: GeneratorModel, *, is_greedy: bool) -> bool:
    """Return whether the answer may be one that was given before, or to another caller.

    That is one that would come out alike: of a model that quotes, at temperature 0, or with a seed. A caller
    may allow it for any other, and forbid it for all.

    Args:
        request: What is asked.
        model: Who is asked.
        is_greedy: Whether the model's own temperature is 0.
    """
    if request.caching is not AnswerCaching.REPEATABLE:
        return request.caching is AnswerCaching.ALLOWED
    sampling = request.sampling
    temperature = sampling.temperature
    return (
        model.window_tokens is None
        or sampling.seed is not None
        or temperature == 0
        or (temperature is None and is_greedy)
    )


def answer_key(tenant_id: str, model: GeneratorModel, composed: Composed, *, settings: str = "") -> str:
    """Return a digest of everything that an answer depends on.

    `settings` stands for those of the server, which others that share its answers may have set otherwise.

    Of the request that is all but what decides on passages, which are in it themselves, turns, costs, and
    which assistant it is whose settings were taken over.
    """
    request = composed.prompt.request
    asked = replace(
        request,
        retrieval=RetrievalRequest((), request.retrieval.query),
        conversation=None,
        choice=None,
        max_cost=None,
        priority=Priority.INTERACTIVE,
        caching=AnswerCaching.REPEATABLE,
        expansion=None,
        rewriting=None,
        preparation=Preparation(),
    )
    quotes = model.window_tokens is None
    facts = (
        _VERSION,
        settings,
        tenant_id,
        model.name,
        asked,
        composed.prompt.messages,
        composed.report.template if composed.report else "",
        sorted(composed.offered),
        [_source(each, with_score=quotes) for each in composed.prompt.sources],
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _source(source: ScoredChunk, *, with_score: bool) -> tuple[object, ...]:
    """Return what tells a passage from any other: a chunk's id is new with each revision of its document."""
    around = (*source.context_before, *source.context_after)
    dense = source.signals.get(Leg.DENSE)
    score = round(dense.score, 4) if with_score and dense is not None else None
    chunk = source.chunk
    return chunk.id, chunk.document_revision, [each.id for each in around], score
