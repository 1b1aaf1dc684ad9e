from __future__ import annotations

from rag_server.domain.expansion import Decomposition, ExpandedQuery, Hyde, Merging, MultiQuery
from rag_server.domain.generation import Preparation
from rag_server.generation.expand import decomposition, hyde, multi_query
from rag_server.generation.tasks import Written

QUESTION = "When does the heron wait?"


def said(*texts: str, is_whole: bool = True) -> list[Written]:
    return [Written(text, is_whole, Preparation()) for text in texts]


def test_multi_query_asks_once_for_as_many_as_wanted() -> None:
    (task,) = multi_query.tasks(MultiQuery(5), QUESTION, "es")
    assert (task.template, task.name, task.language) == ("expand/1", "multi_query", "es")
    assert (task.data, task.numbers) == ({"question": QUESTION}, {"count": 5})


def test_multi_query_reads_other_queries_than_the_question() -> None:
    text = f"1. {QUESTION.upper()}\n2. At what time does it wait?\n3. Waiting hours of herons\n4. More"
    read = multi_query.read(MultiQuery(2), QUESTION, said(text))
    assert read == ExpandedQuery(("At what time does it wait?", "Waiting hours of herons"), Merging.SUM)


def test_multi_query_that_says_nothing_else_is_none() -> None:
    assert multi_query.read(MultiQuery(2), QUESTION, said(QUESTION)) is None
    assert multi_query.read(MultiQuery(2), QUESTION, said("")) is None


def test_hyde_asks_once_per_passage_each_time_for_another() -> None:
    (task,) = hyde.tasks(Hyde(1), QUESTION, "en")
    assert task.sampling.temperature == 0
    tasks = hyde.tasks(Hyde(3), QUESTION, "en")
    assert [each.sampling.seed for each in tasks] == [0, 1, 2]
    assert {each.sampling.temperature for each in tasks} == {hyde.TEMPERATURE}


def test_hyde_reads_passages_once_and_bounded() -> None:
    read = hyde.read(Hyde(4), QUESTION, said("It waits\nat dawn.", "It waits at dawn.", "", "x" * 9999))
    assert read == ExpandedQuery(passages=("It waits at dawn.", "x" * hyde.MAX_CHARACTERS))
    assert hyde.read(Hyde(1), QUESTION, said("  ")) is None
    assert hyde.read(Hyde(1), QUESTION, said("It waits at", is_whole=False)) is not None


def test_decomposition_reads_questions_that_take_turns() -> None:
    (task,) = decomposition.tasks(Decomposition(3), QUESTION, "en")
    assert (task.name, task.numbers) == ("decomposition", {"count": 3})
    read = decomposition.read(Decomposition(3), QUESTION, said("Where is it?\nWhen is dawn?\nA?\nB?"))
    assert read == ExpandedQuery(("Where is it?", "When is dawn?", "A?"), Merging.BEST)


def test_decomposition_of_a_question_that_asks_one_thing_searches_it_alone() -> None:
    assert decomposition.read(Decomposition(3), QUESTION, said(QUESTION)) == ExpandedQuery((), Merging.BEST)
    assert decomposition.read(Decomposition(3), QUESTION, said("")) is None
