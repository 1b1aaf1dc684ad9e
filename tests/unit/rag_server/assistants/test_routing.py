from __future__ import annotations

from dataclasses import replace

import pytest

from rag_server.assistants.resident import ResidentAssistants
from rag_server.assistants.routing import Route, Router
from rag_server.domain.assistant import Assistant, Selection
from tests.unit.rag_server.assistants.conftest import TENANT, Embedder, assistant, head

QUESTION = "How long is the annual leave?"


async def routed(
    embedder: Embedder, *assistants: Assistant, question: str = QUESTION, untrained: float = 0.9
) -> Route:
    async def load(uids: object) -> list[Assistant]:
        return list(assistants)

    resident = ResidentAssistants(embedder, capacity=9)
    known = await resident.get(TENANT, [head(each) for each in assistants], load)
    embedder.texts.clear()
    router = Router(embedder, min_similarity=0.9, min_similarity_untrained=untrained)
    return await router.route(question, known)


async def test_keyword_decides_without_the_embedder(embedder: Embedder) -> None:
    route = await routed(
        embedder,
        assistant("hr", keywords=("annual leave",)),
        assistant("it", keywords=("password",), examples=(QUESTION,)),
    )
    assert (route.selection, route.uid, route.matched) == (Selection.KEYWORD, "uid-hr", "annual leave")
    assert route.score is not None
    assert 0.5 < route.score <= 1
    assert embedder.texts == []


async def test_most_words_covered_win(embedder: Embedder) -> None:
    route = await routed(
        embedder, assistant("a", keywords=("leave",)), assistant("b", keywords=("annual leave",))
    )
    assert route.uid == "uid-b"


async def test_tie_of_keywords_goes_to_the_nearest_example(embedder: Embedder) -> None:
    same = ("leave",)
    route = await routed(
        embedder,
        assistant("a", keywords=same),
        assistant("b", keywords=same, examples=(QUESTION,)),
        assistant("c", keywords=same, examples=("What is a printer?",)),
        assistant("d", examples=(QUESTION,)),
    )
    assert (route.selection, route.uid, route.matched) == (Selection.KEYWORD, "uid-b", "leave")


async def test_tie_without_examples_goes_to_the_first(embedder: Embedder) -> None:
    same = ("leave",)
    route = await routed(embedder, assistant("a", keywords=same), assistant("b", keywords=same))
    assert route.uid == "uid-a"
    assert embedder.texts == []


async def test_nearest_example_decides_where_no_keyword_does(embedder: Embedder) -> None:
    route = await routed(
        embedder,
        assistant("a", keywords=("printer",), examples=("What is a printer?",)),
        assistant("b", examples=("Who pays?", QUESTION)),
    )
    assert (route.selection, route.uid, route.matched) == (Selection.EXAMPLE, "uid-b", QUESTION)
    assert route.score == pytest.approx(1.0)


async def test_example_that_is_too_far_decides_nothing(embedder: Embedder) -> None:
    route = await routed(embedder, assistant("a", examples=("What is a printer?",)))
    assert (route.selection, route.uid, route.matched) == (Selection.NONE, "", "")
    assert route.score is not None
    assert route.score < 0.9


async def test_nothing_to_route_by_is_none(embedder: Embedder) -> None:
    assert await routed(embedder) == Route(Selection.NONE)
    assert await routed(embedder, assistant("a")) == Route(Selection.NONE)
    assert embedder.texts == []


@pytest.mark.parametrize(
    ("languages", "question", "selection"),
    [
        (("en",), "¿Cuánto dura la baja?", Selection.NONE),
        (("en", "es"), "¿Cuánto dura la baja?", Selection.EXAMPLE),
        ((), "¿Cuánto dura la baja?", Selection.EXAMPLE),
        (("en",), "How long is the leave?", Selection.EXAMPLE),
        (("en",), "xyz", Selection.EXAMPLE),
    ],
)
async def test_language_that_the_model_was_not_trained_for_has_its_own_threshold(
    embedder: Embedder, languages: tuple[str, ...], question: str, selection: Selection
) -> None:
    embedder._model = replace(embedder.model, languages=languages)
    route = await routed(embedder, assistant("a", examples=(question,)), question=question, untrained=1.1)
    assert route.selection is selection
