"""The order of the stages, what they hand on, and what a request gets when one of them cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from rag_server.domain.filter import Comparison, Exists, Operator
from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.retrieval import (
    Degradation,
    Engine,
    Leg,
    QuerySyntax,
    RetrievalRequest,
    ScoreScale,
)
from rag_server.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from rag_server.query.field_paths import GENERATE
from tests.unit.rag_server.query.rig import BOTH_ENGINES, Rig, documents, texts

DENSE = AdaptiveFusion(lexical_weight=0)
LEXICAL = AdaptiveFusion(dense_weight=0)


async def put_birds(rig: Rig) -> None:
    await rig.put("heron", "grey heron waits by the river", metadata={"year": 1990})
    await rig.put("crane", "white crane waits by the lake", metadata={"year": 2000})
    await rig.put("bread", "rye bread needs an oven", metadata={"year": 2010})


@BOTH_ENGINES
async def test_retrieval_joins_both_legs(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    result = await rig.ask("grey heron", top_k=2, is_explained=True)
    assert documents(result)[0] == "heron"
    assert len(result.results) == 2
    first = result.results[0]
    assert {leg: signal.rank for leg, signal in first.signals.items()} == {Leg.DENSE: 1, Leg.LEXICAL: 1}
    assert first.signals[Leg.DENSE].score == pytest.approx(
        float(
            (await rig.embedder.embed(["grey heron"]))[0] @ (await rig.embedder.embed([first.chunk.text]))[0]
        ),
        abs=1e-5,
    )
    assert result.score_scale is ScoreScale.ADAPTIVE
    assert result.degradations == ()
    assert result.collection_revisions == {"books": 3}
    assert list(result.timings_us) == ["analyze", "embed", "search", "fuse", "total"]
    assert result.explanation is not None
    assert result.explanation.collections[0].engine is Engine(engine)


@BOTH_ENGINES
@pytest.mark.parametrize("fusion", [AdaptiveFusion(), DENSE, LEXICAL])
async def test_retrieval_filter_holds_for_each_leg(rig: Rig, fusion: AdaptiveFusion) -> None:
    await put_birds(rig)
    condition = Comparison("metadata.year", Operator.GREATER, 1995)
    result = await rig.ask("grey heron waits", filter=condition, fusion=fusion)
    assert set(documents(result)) == ({"crane"} if fusion is LEXICAL else {"crane", "bread"})


OPERATORS = {
    'heron "waits by the river"': {"near"},
    "heron -river": {"far"},
    'heron river -"waits by the river"': {"far", "apart"},
    '"heron" "river" -lake': {"near"},
}


@BOTH_ENGINES
@pytest.mark.parametrize("fusion", [AdaptiveFusion(), DENSE, LEXICAL])
async def test_retrieval_operators_hold_for_each_leg(rig: Rig, fusion: AdaptiveFusion) -> None:
    await rig.put("near", "a heron waits by the river")
    await rig.put("apart", "by the lake a heron waits for fish of the river")
    await rig.put("far", "a heron of the lake")
    found = {query: set(documents(await rig.ask(query, fusion=fusion))) for query in OPERATORS}
    assert found == OPERATORS


@BOTH_ENGINES
async def test_retrieval_plain_syntax_has_no_operators(rig: Rig) -> None:
    await put_birds(rig)
    for query in ('"heron bread"', "heron -grey"):
        found = documents(await rig.ask(query, syntax=QuerySyntax.PLAIN, fusion=LEXICAL))
        assert "heron" in found


@BOTH_ENGINES
async def test_retrieval_each_leg_brings_its_candidates_and_top_k_raises_them(rig: Rig) -> None:
    for index in range(8):
        await rig.put(f"doc{index}", "heron " * (index + 1))
    few = await rig.ask(top_k=1, candidate_count=3, is_explained=True)
    many = await rig.ask(top_k=5, candidate_count=3, is_explained=True)
    assert few.explanation is not None
    assert (few.explanation.dense_candidate_count, few.explanation.lexical_candidate_count) == (3, 3)
    assert len(few.results) == 1
    assert many.explanation is not None
    assert (many.explanation.dense_candidate_count, many.explanation.lexical_candidate_count) == (5, 5)
    assert len(many.results) == 5


@BOTH_ENGINES
async def test_retrieval_of_an_empty_collection_is_empty(rig: Rig) -> None:
    result = await rig.ask(
        "grey heron", top_k=3, context_chunks=1, duplicate_similarity=0.9, is_explained=True
    )
    assert result.results == ()
    assert result.degradations == ()
    assert result.collection_revisions == {"books": 0}


@BOTH_ENGINES
async def test_retrieval_of_stop_words_is_dense_only(rig: Rig) -> None:
    await put_birds(rig)
    result = await rig.ask("the of and")
    assert result.degradations == (Degradation.DENSE_ONLY,)
    assert len(result.results) == 3
    assert all(set(each.signals) == {Leg.DENSE} for each in result.results)


@pytest.mark.parametrize(
    ("query", "fusion"),
    [
        ("-heron", AdaptiveFusion()),
        ('-"grey heron" -lake', AdaptiveFusion()),
        ("the of and", LEXICAL),
        ("?!…", LEXICAL),
        ("the -heron", LEXICAL),
    ],
)
async def test_retrieval_of_nothing_to_look_for_is_refused_before_any_work(
    rig: Rig, query: str, fusion: AdaptiveFusion
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rig.ask(query, fusion=fusion)
    assert caught.value.reason == "QUERY_HAS_NO_TERMS"
    assert [each.field for each in caught.value.violations] == ["query"]
    assert rig.embedder.batches == []


@BOTH_ENGINES
async def test_retrieval_leg_of_weight_zero_is_not_asked_and_is_no_degradation(rig: Rig) -> None:
    await put_birds(rig)
    lexical = await rig.ask("heron", fusion=LEXICAL)
    assert rig.embedder.batches == []
    assert documents(lexical) == ["heron"]
    assert set(lexical.results[0].signals) == {Leg.LEXICAL}
    assert "embed" not in lexical.timings_us
    dense = await rig.ask("heron", fusion=DENSE)
    assert {leg for each in dense.results for leg in each.signals} == {Leg.DENSE}
    assert lexical.degradations == dense.degradations == ()


async def test_retrieval_of_an_unknown_collection_fails_before_any_work(rig: Rig) -> None:
    with pytest.raises(NotFound):
        await rig.ask("heron", "books", "nope")
    assert rig.embedder.batches == []


async def test_retrieval_of_a_collection_of_another_tenant_is_not_found(rig: Rig) -> None:
    await rig.make("secrets", tenant_id="globex")
    await rig.put("heron", "grey heron", into="secrets", tenant_id="globex")
    with pytest.raises(NotFound) as caught:
        await rig.ask("heron", "secrets")
    assert caught.value.metadata == {"resource": "collection", "id": "secrets"}


async def test_retrieval_with_a_wrong_filter_fails_before_any_work(rig: Rig) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rig.ask(filter=Exists("metadata.nope"))
    assert caught.value.reason == "UNKNOWN_FILTER_FIELD"
    assert [each.field for each in caught.value.violations] == ["options.filter.exists.field"]
    assert rig.embedder.batches == []


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"filter": Exists("metadata.nope")}, "retrieval.filter.exists.field", "options.filter.exists.field"),
    ({"fusion": LEXICAL}, "question", "query"),
]


@pytest.mark.parametrize(("fields", "of_question", "_of_request"), WRONG)
async def test_retrieval_for_a_question_names_the_fields_of_the_question(
    rig: Rig, fields: dict[str, Any], of_question: str, _of_request: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rig.ask("the", paths=GENERATE, **fields)
    assert [each.field for each in caught.value.violations] == [of_question]


@pytest.mark.parametrize(("fields", "_of_question", "of_request"), WRONG)
async def test_retrieval_batch_names_the_request_that_is_wrong(
    rig: Rig, fields: dict[str, Any], _of_question: str, of_request: str
) -> None:
    requests = [RetrievalRequest(("books",), "heron"), RetrievalRequest(("books",), "the", **fields)]
    with pytest.raises(InvalidArgument) as caught:
        await rig.ask_all(*requests)
    assert [each.field for each in caught.value.violations] == [f"requests[1].{of_request}"]


async def test_retrieval_batch_is_embedded_at_once_and_answered_in_order(rig: Rig) -> None:
    await put_birds(rig)
    await rig.make("more")
    await rig.put("owl", "an owl at night", into="more")
    results = await rig.ask_all(
        RetrievalRequest(("books",), "rye bread", top_k=1),
        RetrievalRequest(("books",), "heron", fusion=LEXICAL),
        RetrievalRequest(("more",), "owl night", top_k=1),
        RetrievalRequest(("books", "more"), "white crane", top_k=1),
    )
    assert rig.embedder.batches == [["rye bread", "owl night", "white crane"]]
    assert [documents(each) for each in results] == [["bread"], ["heron"], ["owl"], ["crane"]]
    assert ["embed" in each.timings_us for each in results] == [True, False, True, True]
    assert [each.collection_revisions for each in results] == [
        {"books": 3},
        {"books": 3},
        {"more": 1},
        {"books": 3, "more": 1},
    ]


async def test_retrieval_batch_searches_each_collection_once(rig: Rig) -> None:
    await put_birds(rig)
    before = rig.pool.entries("acme")
    await rig.warm("books")
    (entry,) = rig.pool.entries("acme")
    count = entry.query_count
    await rig.ask_all(*[RetrievalRequest(("books",), query) for query in ("heron", "crane", "bread")])
    assert before == []
    # one by the search of all three, one by the rig, which looks whether the collection is in memory
    assert entry.query_count - count == 2


async def test_retrieval_batch_answers_as_single_requests_do(rig: Rig) -> None:
    await put_birds(rig)
    queries = ["rye bread", "waits", '"grey heron"', "the"]
    batch = await rig.ask_all(*[RetrievalRequest(("books",), query) for query in queries])
    single = [await rig.ask(query) for query in queries]
    assert [each.results for each in batch] == [each.results for each in single]
    assert [each.degradations for each in batch] == [each.degradations for each in single]


async def test_retrieval_batch_of_nothing_is_nothing(rig: Rig) -> None:
    assert await rig.ask_all() == []


async def test_retrieval_with_the_store_down_is_answered_from_memory(rig: Rig) -> None:
    await put_birds(rig)
    await rig.warm("books")
    rig.store.failure = Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
    result = await rig.ask("grey heron", context_chunks=1, duplicate_similarity=0.9, is_explained=True)
    assert documents(result)[0] == "heron"
    assert result.degradations == ()
    assert rig.store.search_count == 0


@pytest.mark.parametrize("engine", ["store"])
async def test_retrieval_with_the_store_down_and_nothing_in_memory_fails(rig: Rig) -> None:
    await put_birds(rig)
    rig.store.failure = Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
    with pytest.raises(Unavailable) as caught:
        await rig.ask()
    assert caught.value.is_retryable


async def test_retrieval_collection_of_another_embedding_model_is_refused(rig: Rig) -> None:
    await rig.make("older", embedding_model="another")
    with pytest.raises(FailedPrecondition) as caught:
        await rig.ask("heron", "books", "older")
    assert caught.value.reason == "EMBEDDING_MODEL_MISMATCH"
    assert caught.value.metadata == {"collection": "older", "embedding_model": "another"}
    assert rig.embedder.batches == []


async def test_retrieval_over_collections_analyses_in_the_language_of_each(rig: Rig) -> None:
    await rig.make("libros", language="es")
    await rig.put("en", "he runs along rivers")
    await rig.put("es", "los ríos corren", into="libros")
    result = await rig.ask("los ríos running", "books", "libros", is_explained=True)
    assert result.explanation is not None
    terms = {each.collection_id: each.lexemes for each in result.explanation.collections}
    assert "run" in terms["books"]
    assert "los" in terms["books"]
    assert "los" not in terms["libros"]
    assert set(documents(result)) == {"en", "es"}
    assert all(Leg.LEXICAL in each.signals for each in result.results)
    assert list(result.collection_revisions) == ["books", "libros"]


async def test_retrieval_of_stop_words_in_one_of_the_languages_asks_the_other(rig: Rig) -> None:
    await rig.make("libros", language="es")
    await rig.put("en", "the heron")
    await rig.put("es", "the es una palabra inglesa", into="libros")
    result = await rig.ask("the", "books", "libros", fusion=LEXICAL)
    assert documents(result) == ["es"]
    assert result.degradations == ()


@BOTH_ENGINES
async def test_retrieval_over_collections_ranks_them_as_if_they_were_one(rig: Rig) -> None:
    await rig.make("more")
    for index in range(4):
        await rig.put(f"a{index}", "heron" + " lake" * (2 * index))
        await rig.put(f"b{index}", "heron" + " lake" * (2 * index + 1), into="more")
    result = await rig.ask(
        "heron", "books", "more", fusion=DENSE, candidate_count=5, top_k=5, is_explained=True
    )
    assert documents(result) == ["a0", "b0", "a1", "b1", "a2"]
    assert [each.signals[Leg.DENSE].rank for each in result.results] == [1, 2, 3, 4, 5]
    assert [each.chunk.collection_id for each in result.results] == ["books", "more"] * 2 + ["books"]
    assert result.explanation is not None
    assert result.explanation.dense_candidate_count == 5


@BOTH_ENGINES
async def test_retrieval_over_collections_with_the_same_document_id_keeps_them_apart(rig: Rig) -> None:
    await rig.make("more")
    await rig.put("same", "a heron first", "its second part")
    await rig.put("same", "a heron elsewhere", "another second part", into="more")
    result = await rig.ask("heron", "books", "more", fusion=LEXICAL, context_chunks=1)
    after = {
        each.chunk.collection_id: [chunk.text for chunk in each.context_after] for each in result.results
    }
    assert after == {"books": ["its second part"], "more": ["another second part"]}


@BOTH_ENGINES
async def test_retrieval_sees_a_replaced_document_in_its_new_version_only(rig: Rig) -> None:
    await rig.put("heron", "grey heron", "old heron")
    await rig.ask()
    await rig.put("heron", "white heron")
    assert texts(await rig.ask()) == ["white heron"]
