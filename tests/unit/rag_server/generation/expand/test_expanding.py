from __future__ import annotations

import asyncio

import pytest

from rag_server.backends.protocols import Price
from rag_server.domain.expansion import (
    Decomposition,
    ExpandedQuery,
    Hyde,
    Merging,
    MultiQuery,
    QueryExpansion,
    SearchedWith,
)
from rag_server.domain.generation import GenerationRequest, Preparation, Usage
from rag_server.domain.retrieval import Degradation
from rag_server.errors import InvalidArgument, Unavailable
from rag_server.generation.expand.expanding import Expanded, Expanding
from tests.unit.rag_server.generation.scripted import Scripted, asked, tasks_of

QUESTION = "When does the heron wait?"
DOWN = Unavailable("PROVIDER_FAILED", "down")


async def expanded(request: GenerationRequest, *models: Scripted, max_cost: float | None = None) -> Expanded:
    tasks = tasks_of(*models, max_cost=max_cost)
    answering = tasks._models.route(request.model)[0]
    return await Expanding(tasks).expand(request, answering, None)


async def test_request_without_expansion_stays_as_it_is() -> None:
    model = Scripted("x")
    assert await expanded(asked(), model) == Expanded(asked())
    assert not model.prompts


async def test_queries_are_searched_beside_the_question_and_told() -> None:
    model = Scripted("At what time?\nWhen is it there?")
    request = asked(QUESTION, expansion=QueryExpansion(MultiQuery(2)))
    got = await expanded(request, model)
    queries = ("At what time?", "When is it there?")
    assert got.request.retrieval.expanded == ExpandedQuery(queries, Merging.SUM)
    assert got.request.retrieval.query == got.request.question == QUESTION
    assert got.request.preparation == Preparation(Usage(10, 2))
    assert got.searched == SearchedWith("writer", (QUESTION, *queries))
    assert "Write 2 other ways" in model.prompts[0].messages[0].text


async def test_template_is_in_the_language_of_the_question() -> None:
    model = Scripted("Garzas")
    await expanded(asked("¿Cuándo espera la garza?", expansion=QueryExpansion(Hyde())), model)
    system, user = model.prompts[0].messages
    assert system.text.startswith("Ayudas a buscar")
    assert user.text == "Pregunta: ¿Cuándo espera la garza?"


async def test_passages_of_several_calls_are_taken_where_some_fail() -> None:
    model = Scripted("One.", DOWN, "Three.", price=Price(1e6, 1e6))
    got = await expanded(asked(expansion=QueryExpansion(Hyde(3))), model)
    assert got.searched is not None
    # the calls are made at once: which of them gets which reply is left to chance
    assert set(got.searched.passages) == {"One.", "Three."}
    assert got.request.preparation == Preparation(Usage(20, 4), cost=24.0)


async def test_question_that_asks_one_thing_is_searched_alone_without_a_degradation() -> None:
    got = await expanded(asked(QUESTION, expansion=QueryExpansion(Decomposition())), Scripted(QUESTION))
    assert got.searched == SearchedWith("writer", (QUESTION,))
    assert not got.request.preparation.degradations


@pytest.mark.parametrize("reply", [DOWN, "", "Here are some:"])
async def test_model_that_fails_leaves_the_question_and_names_it(reply: str | Exception) -> None:
    got = await expanded(asked(expansion=QueryExpansion(MultiQuery())), Scripted(reply))
    assert got.searched is None
    assert got.request.retrieval == asked().retrieval
    assert got.request.preparation.degradations == (Degradation.NO_EXPANSION,)


async def test_model_of_the_expansion_may_be_another_than_that_of_the_answer() -> None:
    quoting, writing = Scripted("x", name="extractive", window=None), Scripted("Other words?", name="small")
    got = await expanded(asked(expansion=QueryExpansion(MultiQuery(), "small")), quoting, writing)
    assert got.searched is not None
    assert got.searched.model == "small"


@pytest.mark.parametrize(
    ("name", "field"), [("", "generation.expansion"), ("e", "generation.expansion.model")]
)
async def test_model_that_only_quotes_is_refused_naming_the_field(name: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await expanded(asked(expansion=QueryExpansion(Hyde(), name)), Scripted("x", name="e", window=None))
    assert caught.value.reason == "MODEL_CANNOT_WRITE"
    assert caught.value.metadata["model"] == "e"
    assert [each.field for each in caught.value.violations] == [field]


async def test_unknown_model_and_a_cost_that_is_too_high_are_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        await expanded(asked(expansion=QueryExpansion(Hyde(), "gpt")), Scripted("x"))
    assert caught.value.reason == "MODEL_UNKNOWN"
    model = Scripted("x", price=Price(1e6, 1e6))
    with pytest.raises(InvalidArgument) as caught:
        await expanded(asked(expansion=QueryExpansion(Hyde())), model, max_cost=1.0)
    assert caught.value.reason == "COST_LIMIT_EXCEEDED"
    assert not model.prompts


async def test_caller_that_leaves_stops_the_calls() -> None:
    model = Scripted(asyncio.Event())
    tasks = tasks_of(model)
    served = tasks.writer("")
    assert served is not None
    work = asyncio.create_task(
        Expanding(tasks).expand(asked(expansion=QueryExpansion(Hyde(2))), served, None)
    )
    await model.reached.wait()
    work.cancel()
    await asyncio.wait([work])
    assert (served.gate.running_count, served.gate.waiting_count) == (0, 0)
