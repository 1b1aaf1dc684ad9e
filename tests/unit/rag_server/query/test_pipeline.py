from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rag_server.backends.protocols import Embeddings, Priority
from rag_server.domain.collection import Collection
from rag_server.domain.filter import Exists, Filter
from rag_server.domain.metadata import MetadataType
from rag_server.domain.retrieval import Candidate, Degradation, Leg, RetrievalRequest, RrfFusion, ScoreScale
from rag_server.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from rag_server.query.field_paths import GENERATE
from rag_server.query.pipeline import Retrieval
from rag_server.testing.fakes import HashEmbedder
from rag_server.text.analyzer import Analyzer
from tests.unit.rag_server.query.conftest import Visible, candidates, make_collection

Vector = npt.NDArray[np.float32]


class Catalog(Visible):
    """Knows collections in English and Spanish."""

    def __init__(self) -> None:
        super().__init__()
        self.collections = {
            each.id: each
            for each in (
                make_collection("books", "en", year=MetadataType.INTEGER),
                make_collection("libros", "es"),
            )
        }

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]:
        missing = [each for each in collection_ids if each not in self.collections]
        if missing:
            raise NotFound.for_resource("collection", missing[0])
        return [self.collections[each] for each in collection_ids]


def _in(collection: Collection, found: list[Candidate]) -> list[Candidate]:
    """Return what was found as chunks of `collection`."""
    return [replace(each, chunk=replace(each.chunk, collection_id=collection.id)) for each in found]


@dataclass
class Store:
    """Answers each leg with fixed candidates and notes what it was asked."""

    dense: list[Candidate] = field(default_factory=lambda: candidates("a", "b"))
    lexical: list[Candidate] = field(default_factory=lambda: candidates("b", "c"))
    failure: Exception | None = None
    dense_questions: list[tuple[str, Vector, int, Filter | None]] = field(default_factory=list)
    lexical_questions: list[tuple[str, list[str], int, Filter | None]] = field(default_factory=list)

    async def search_dense(
        self, collection: Collection, vector: Vector, *, limit: int, filter: Filter | None
    ) -> list[Candidate]:
        if self.failure:
            raise self.failure
        self.dense_questions.append((collection.id, vector, limit, filter))
        return _in(collection, self.dense)

    async def search_lexical(
        self, collection: Collection, lexemes: Sequence[str], *, limit: int, filter: Filter | None
    ) -> list[Candidate]:
        self.lexical_questions.append((collection.id, list(lexemes), limit, filter))
        return _in(collection, self.lexical)


class Embedder(HashEmbedder):
    """Can fail; notes the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.batches: list[list[str]] = []

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        self.batches.append(list(texts))
        if self.failure:
            raise self.failure
        return await super().embed(texts, priority=priority)


@dataclass
class Rig:
    store: Store
    embedder: Embedder
    catalog: Catalog
    retrieval: Retrieval

    async def ask(self, query: str = "rivers", *collection_ids: str, **fields: Any) -> Any:
        request = RetrievalRequest(collection_ids or ("books",), query, **fields)
        return await self.retrieval.retrieve("acme", request)


@pytest.fixture
def rig() -> Rig:
    store, embedder, catalog = Store(), Embedder(), Catalog()
    retrieval = Retrieval(catalog, store, embedder, Analyzer.for_language, overfetch=1.5)  # type: ignore[arg-type]  # the store's searches only
    return Rig(store, embedder, catalog, retrieval)


def ids(result: Any) -> list[str]:
    return [each.chunk.id for each in result.results]


async def test_retrieval_fuses_both_legs(rig: Rig) -> None:
    result = await rig.ask(top_k=2)
    assert ids(result) == ["b", "a"]
    assert set(result.results[0].signals) == {Leg.DENSE, Leg.LEXICAL}
    assert result.score_scale is ScoreScale.RRF
    assert result.degradations == ()
    assert result.collection_revisions == {"books": 3}
    assert set(result.timings_us) == {"analyze", "embed", "dense", "lexical", "verify", "fuse", "total"}


async def test_retrieval_legs_get_filter_terms_and_limit(rig: Rig) -> None:
    condition = Exists("metadata.year")
    await rig.ask("the running rivers", filter=condition, candidate_count=10, top_k=3)
    ((_, _, dense_limit, dense_filter),) = rig.store.dense_questions
    ((_, lexemes, lexical_limit, lexical_filter),) = rig.store.lexical_questions
    assert (dense_limit, lexical_limit) == (15, 15)
    assert dense_filter is condition
    assert lexical_filter is condition
    assert lexemes == ["run", "river"]


async def test_retrieval_of_more_results_than_candidates_asks_for_as_many(rig: Rig) -> None:
    await rig.ask(top_k=40, candidate_count=10)
    assert rig.store.dense_questions[0][2] == 60


async def test_retrieval_without_embedder_is_lexical_only(rig: Rig) -> None:
    rig.embedder.failure = Unavailable("EMBEDDER_UNAVAILABLE", "m")
    result = await rig.ask()
    assert result.degradations == (Degradation.LEXICAL_ONLY,)
    assert ids(result) == ["b", "c"]
    assert rig.store.dense_questions == []


async def test_retrieval_without_embedder_and_without_terms_fails(rig: Rig) -> None:
    rig.embedder.failure = Unavailable("EMBEDDER_UNAVAILABLE", "m")
    with pytest.raises(Unavailable) as caught:
        await rig.ask("the of and")
    assert caught.value.reason == "EMBEDDER_UNAVAILABLE"


async def test_retrieval_with_an_overloaded_embedder_is_refused_not_degraded(rig: Rig) -> None:
    rig.embedder.failure = ResourceExhausted("EMBEDDER_OVERLOADED", "m", retry_after_s=1)
    with pytest.raises(ResourceExhausted):
        await rig.ask()


async def test_retrieval_of_stop_words_is_dense_only(rig: Rig) -> None:
    result = await rig.ask("the of and")
    assert result.degradations == (Degradation.DENSE_ONLY,)
    assert ids(result) == ["a", "b"]
    assert rig.store.lexical_questions == []


@pytest.mark.parametrize("query", ["the of and", "?!…"])
async def test_retrieval_of_stop_words_without_vectors_is_refused(rig: Rig, query: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rig.ask(query, fusion=RrfFusion(dense_weight=0))
    assert caught.value.reason == "QUERY_HAS_NO_TERMS"
    assert [each.field for each in caught.value.violations] == ["query"]


async def test_retrieval_leg_of_weight_zero_is_not_asked_and_no_degradation(rig: Rig) -> None:
    result = await rig.ask(fusion=RrfFusion(dense_weight=0))
    assert rig.embedder.batches == []
    assert rig.store.dense_questions == []
    assert result.degradations == ()

    result = await rig.ask(fusion=RrfFusion(lexical_weight=0))
    assert len(rig.store.lexical_questions) == 1  # of the first request
    assert result.degradations == ()
    assert "analyze" not in result.timings_us


async def test_retrieval_over_collections_analyses_in_the_language_of_each(rig: Rig) -> None:
    result = await rig.ask("los ríos running", "books", "libros")
    terms = {name: lexemes for name, lexemes, *_ in rig.store.lexical_questions}
    assert set(terms) == {"books", "libros"}
    assert "run" in terms["books"]
    assert "running" in terms["libros"] or "runn" in " ".join(terms["libros"])
    assert "los" not in terms["libros"]
    assert result.collection_revisions == {"books": 3, "libros": 3}
    assert len(rig.embedder.batches) == 1


async def test_retrieval_of_stop_words_in_one_of_the_languages_asks_the_other(rig: Rig) -> None:
    result = await rig.ask("the", "books", "libros")
    asked = {name: lexemes for name, lexemes, *_ in rig.store.lexical_questions if lexemes}
    assert set(asked) == {"libros"}
    assert ids(result)


async def test_retrieval_of_an_unknown_collection_fails_before_any_work(rig: Rig) -> None:
    with pytest.raises(NotFound):
        await rig.ask("rivers", "books", "nope")
    assert rig.embedder.batches == []


async def test_retrieval_with_a_wrong_filter_fails_before_any_work(rig: Rig) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rig.ask(filter=Exists("metadata.nope"))
    assert caught.value.reason == "UNKNOWN_FILTER_FIELD"
    assert [each.field for each in caught.value.violations] == ["options.filter.exists.field"]
    assert rig.embedder.batches == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"filter": Exists("metadata.nope")}, "retrieval.filter.exists.field"),
        ({"fusion": RrfFusion(dense_weight=0)}, "question"),
    ],
)
async def test_retrieval_for_a_question_names_the_fields_of_the_question(
    rig: Rig, fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rig.retrieval.retrieve("acme", RetrievalRequest(("books",), "the", **fields), GENERATE)
    assert [each.field for each in caught.value.violations] == [path]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"filter": Exists("metadata.nope")}, "requests[1].options.filter.exists.field"),
        ({"fusion": RrfFusion(dense_weight=0)}, "requests[1].query"),
    ],
)
async def test_retrieval_batch_names_the_request_that_is_wrong(
    rig: Rig, fields: dict[str, Any], path: str
) -> None:
    requests = [RetrievalRequest(("books",), "rivers"), RetrievalRequest(("books",), "the", **fields)]
    with pytest.raises(InvalidArgument) as caught:
        await rig.retrieval.retrieve_batch("acme", requests)
    assert [each.field for each in caught.value.violations] == [path]


async def test_retrieval_with_a_store_that_is_down_fails(rig: Rig) -> None:
    rig.store.failure = Unavailable("VECTOR_STORE_UNAVAILABLE", "m")
    with pytest.raises(Unavailable):
        await rig.ask()


async def test_retrieval_batch_embeds_once_and_answers_in_order(rig: Rig) -> None:
    requests = [
        RetrievalRequest(("books",), "rivers"),
        RetrievalRequest(("books",), "lakes", fusion=RrfFusion(dense_weight=0)),
        RetrievalRequest(("libros",), "mares", top_k=1),
    ]
    results = await rig.retrieval.retrieve_batch("acme", requests)
    assert rig.embedder.batches == [["rivers", "mares"]]
    assert [ids(each) for each in results] == [["b", "a", "c"], ["b", "c"], ["b"]]
    assert ["embed" in each.timings_us for each in results] == [True, False, True]
    by_name = {name: vector for name, vector, *_ in rig.store.dense_questions}
    expected = await HashEmbedder().embed(["rivers", "mares"])
    np.testing.assert_array_equal(by_name["books"], expected[0])
    np.testing.assert_array_equal(by_name["libros"], expected[1])


async def test_retrieval_batch_of_nothing_is_nothing(rig: Rig) -> None:
    assert await rig.retrieval.retrieve_batch("acme", []) == []


async def test_retrieval_document_replaced_between_the_legs_is_there_in_one_version(rig: Rig) -> None:
    old = candidates("old")
    new = candidates("new", revision=2)
    same = [replace(each, chunk=replace(each.chunk, document_id="doc")) for each in (*old, *new)]
    revision = 1
    searches = 0

    async def visible_revisions(
        tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        return dict.fromkeys(document_ids, revision)

    async def search(collection: Collection, what: Any, *, limit: int, filter: Any) -> list[Candidate]:
        nonlocal revision, searches
        searches += 1
        found = [same[revision - 1]]
        revision = 2  # published once the first leg has looked
        return found

    rig.catalog.visible_revisions = visible_revisions  # type: ignore[method-assign]  # it changes meanwhile
    rig.store.search_dense = search  # type: ignore[method-assign, assignment]  # likewise
    rig.store.search_lexical = search  # type: ignore[method-assign, assignment]  # likewise
    result = await rig.ask()
    assert ids(result) == ["new"]
    assert set(result.results[0].signals) == {Leg.DENSE, Leg.LEXICAL}
    assert searches == 4


async def test_retrieval_collection_of_another_embedding_model_is_refused(rig: Rig) -> None:
    rig.catalog.collections["books"] = replace(make_collection("books"), embedding_model="another")
    with pytest.raises(FailedPrecondition) as caught:
        await rig.ask()
    assert caught.value.reason == "EMBEDDING_MODEL_MISMATCH"
    assert caught.value.metadata == {"collection": "books", "embedding_model": "another"}
