from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from rag_server.backends.protocols import GeneratorModel
from rag_server.domain.assistant import AssistantChoice, Selection
from rag_server.domain.conversation import ConversationRef, HistoryMessage, Role
from rag_server.domain.expansion import Hyde, QueryExpansion
from rag_server.domain.generation import (
    AnswerCaching,
    GenerationRequest,
    Message,
    Preparation,
    Prompt,
    Sampling,
    Usage,
)
from rag_server.domain.generation import Role as PromptRole
from rag_server.domain.output_format import RegexOutput
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.domain.rewriting import NoRewriting
from rag_server.domain.time_limit import TimeLimit
from rag_server.generation.answer_key import answer_key, may_be_shared
from rag_server.generation.compose import Composed
from rag_server.testing.generator_suite import SOURCES

QUOTES, WRITES = GeneratorModel("extractive"), GeneratorModel("small", "local", 4096)
REQUEST = GenerationRequest(RetrievalRequest(("books",), "why?"))
MESSAGES = (Message(PromptRole.USER, "why?"),)


def key(
    request: GenerationRequest = REQUEST,
    *,
    tenant: str = "acme",
    model: GeneratorModel = WRITES,
    sources: Any = tuple(SOURCES),
    messages: tuple[Message, ...] = MESSAGES,
    settings: str = "",
) -> str:
    composed = Composed(Prompt(request, sources, messages, TimeLimit(1.0, True)))
    return answer_key(tenant, model, composed, settings=settings)


OTHERS: dict[str, Any] = {
    "max_tokens": 7,
    "language": "es",
    "model": "other",
    "sampling": Sampling(temperature=0.5),
    "keeps_markers": True,
    "history": (HistoryMessage(Role.USER, "before"),),
    "asked": "and then?",
    "output": RegexOutput("[a-z]+"),
    "instructions": "Be brief.",
}
"""A different value for what an answer depends on."""

ALIKE: dict[str, Any] = {
    "retrieval": RetrievalRequest(("books", "more"), "why?", top_k=3, min_revisions=(("books", 7),)),
    "max_cost": 1.0,
    "priority": Priority.BULK,
    "caching": AnswerCaching.ALLOWED,
    "conversation": ConversationRef("c", "r", "h"),
    "choice": AssistantChoice(Selection.NAMED, "sales", 7),  # its settings are in the request
    # what these have made of the search is seen in the passages
    "expansion": QueryExpansion(Hyde()),
    "rewriting": NoRewriting(),
    "preparation": Preparation(Usage(1, 1), 0.5),
}
"""A different value for what it does not depend on, or only by way of the passages."""


@pytest.mark.parametrize("name", OTHERS)
def test_request_that_would_be_answered_otherwise_has_another_key(name: str) -> None:
    assert key(replace(REQUEST, **{name: OTHERS[name]})) != key()


@pytest.mark.parametrize("name", ALIKE)
def test_request_that_would_be_answered_alike_has_the_same_key(name: str) -> None:
    assert key(replace(REQUEST, **{name: ALIKE[name]})) == key()


def test_what_is_not_known_to_leave_the_answer_alone_changes_its_key() -> None:
    unknown = {each.name for each in fields(GenerationRequest)} - OTHERS.keys() - ALIKE.keys()
    for name in unknown:  # fields that were added since
        object.__setattr__(other := replace(REQUEST), name, object())
        assert key(other) != key(), f"answer_key leaves {name} out: say here why"


def test_key_depends_on_tenant_model_prompt_and_passages() -> None:
    newer = replace(SOURCES[0], chunk=replace(SOURCES[0].chunk, document_revision=9))
    around = replace(SOURCES[0], context_after=(SOURCES[1].chunk,))
    keys = [
        key(),
        key(tenant="other"),
        key(settings="of another server"),
        key(model=GeneratorModel("large", "local", 4096)),
        key(messages=(Message(PromptRole.USER, "why not?"),)),
        key(sources=tuple(reversed(SOURCES))),
        key(sources=(newer, *SOURCES[1:])),
        key(sources=(around, *SOURCES[1:])),
        key(sources=()),
        key(replace(REQUEST, retrieval=RetrievalRequest(("books",), "why not?"))),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("model", "caching", "sampling", "is_greedy", "expected"),
    [
        (QUOTES, AnswerCaching.REPEATABLE, Sampling(), False, True),
        (WRITES, AnswerCaching.REPEATABLE, Sampling(), False, False),
        (WRITES, AnswerCaching.REPEATABLE, Sampling(), True, True),
        (WRITES, AnswerCaching.REPEATABLE, Sampling(temperature=0.7), True, False),
        (WRITES, AnswerCaching.REPEATABLE, Sampling(temperature=0.0), False, True),
        (WRITES, AnswerCaching.REPEATABLE, Sampling(temperature=0.7, seed=1), False, True),
        (WRITES, AnswerCaching.ALLOWED, Sampling(temperature=0.7), False, True),
        (QUOTES, AnswerCaching.BYPASSED, Sampling(temperature=0.0, seed=1), True, False),
    ],
)
def test_answer_may_be_shared_if_it_would_come_out_alike_or_the_caller_allows_it(
    model: GeneratorModel, caching: AnswerCaching, sampling: Sampling, is_greedy: bool, expected: bool
) -> None:
    request = replace(REQUEST, caching=caching, sampling=sampling)
    assert may_be_shared(request, model, is_greedy=is_greedy) is expected
