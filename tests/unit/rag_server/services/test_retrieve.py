"""RetrieveService: what it asks of retrieval and of the rerankers, and when it need not ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.v1 import options_pb2, rerank_pb2, retrieved_chunk_pb2
from rag.v1 import retrieve_service_pb2 as pb
from rag_server.domain.retrieval import CrossEncoder
from rag_server.errors import FailedPrecondition, NotFound, Unavailable
from rag_server.metadata.database import Database
from rag_server.query.reranking import Reranking
from rag_server.services.response_cache import ResponseCache
from rag_server.services.retrieve import RetrieveServicer
from rag_server.text.analyzer import Analyzer
from tests.unit.rag_server.query.rig import TENANT, Rig
from tests.unit.rag_server.services.conftest import in_call

METHOD = "/rag.v1.RetrieveService/Retrieve"


@pytest.fixture(autouse=True)
def call() -> Iterator[None]:
    with in_call(METHOD):
        yield


@pytest.fixture
async def rig(database: Database, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig.open(database, tmp_path, "store") as rig:
        await rig.make("books")
        await rig.put("heron", "grey heron")
        yield rig


@pytest.fixture
def responses(rig: Rig) -> ResponseCache:
    return ResponseCache(1 << 20, rig.directory)


@pytest.fixture
def servicer(rig: Rig, responses: ResponseCache) -> RetrieveServicer:
    reranking = Reranking({CrossEncoder: rig.reranker})
    return RetrieveServicer(
        rig.retrieval, reranking, responses, rig.embedder, rig.database, Analyzer.for_language
    )


def request(query: str = "heron", **options: Any) -> pb.RetrieveRequest:
    return pb.RetrieveRequest(
        collection_ids=["books"], query=query, options=options_pb2.RetrievalOptions(**options)
    )


def stages(response: pb.RetrieveResponse) -> set[str]:
    return {each.stage for each in response.timings.stages}


async def test_retrieve_again_is_answered_without_a_search(rig: Rig, servicer: RetrieveServicer) -> None:
    first = await servicer.Retrieve(request(), None)
    count = rig.store.search_count
    second = await servicer.Retrieve(request(), None)
    assert rig.store.search_count == count
    assert len(rig.embedder.batches) == 1
    assert stages(second) == {"cache"}
    second.timings.CopyFrom(first.timings)
    assert second == first


async def test_retrieve_again_after_a_commit_sees_it(rig: Rig, servicer: RetrieveServicer) -> None:
    await servicer.Retrieve(request(), None)
    await rig.put("egret", "white heron")
    assert len((await servicer.Retrieve(request(), None)).results) == 2
    await rig.delete("heron")
    response = await servicer.Retrieve(request(), None)
    assert [each.chunk.document_id for each in response.results] == ["egret"]


async def test_retrieve_again_of_a_deleted_collection_is_not_found(
    rig: Rig, servicer: RetrieveServicer
) -> None:
    await servicer.Retrieve(request(), None)
    async with rig.database.transaction() as tx:
        await tx.collections.delete(TENANT, "books")
    with pytest.raises(NotFound):
        await servicer.Retrieve(request(), None)


async def test_retrieve_by_another_tenant_is_not_answered_from_memory(
    rig: Rig, servicer: RetrieveServicer
) -> None:
    await servicer.Retrieve(request(), None)
    with in_call(METHOD, tenant_id="globex"), pytest.raises(NotFound):
        await servicer.Retrieve(request(), None)


async def test_retrieve_degraded_answer_is_not_given_again(rig: Rig, servicer: RetrieveServicer) -> None:
    rig.embedder.failure = Unavailable("EMBEDDER_UNAVAILABLE", "m")
    degraded = await servicer.Retrieve(request(), None)
    assert list(degraded.degradations) == [retrieved_chunk_pb2.DEGRADATION_LEXICAL_ONLY]
    rig.embedder.failure = None
    whole = await servicer.Retrieve(request(), None)
    assert not whole.degradations
    assert whole.results[0].signals.HasField("dense")


async def test_retrieve_explained_answer_is_made_each_time(rig: Rig, servicer: RetrieveServicer) -> None:
    explained = request(explain=options_pb2.Explain())
    for count in (1, 2):
        response = await servicer.Retrieve(explained, None)
        assert response.HasField("explanation")
        assert len(rig.embedder.batches) == count


async def test_batch_retrieve_answers_each(servicer: RetrieveServicer) -> None:
    response = await servicer.BatchRetrieve(
        pb.BatchRetrieveRequest(requests=[request(), request("the")]), None
    )
    assert [len(each.results) for each in response.responses] == [1, 1]
    assert [list(each.degradations) for each in response.responses] == [
        [],
        [retrieved_chunk_pb2.DEGRADATION_DENSE_ONLY],
    ]


CROSS_ENCODER = rerank_pb2.Rerank(cross_encoder=rerank_pb2.CrossEncoderRerank())


@pytest.mark.parametrize(("top_k", "expected"), [(None, [1, 2, 0]), (2, [1, 2]), (200, [1, 2, 0])])
async def test_rerank_orders_passages_equal_ones_as_they_came(
    servicer: RetrieveServicer, top_k: int | None, expected: list[int]
) -> None:
    asked = pb.RerankRequest(query="q", passages=["longest", "ab", "cd"], rerank=CROSS_ENCODER, top_k=top_k)
    response = await servicer.Rerank(asked, None)
    assert [each.index for each in response.passages] == expected
    assert [each.score for each in response.passages] == [
        -float(len(asked.passages[each])) for each in expected
    ]
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_CROSS_ENCODER
    assert {each.stage for each in response.timings.stages} == {"rerank"}


async def test_rerank_by_what_the_server_lacks_is_refused(servicer: RetrieveServicer) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await servicer.Rerank(pb.RerankRequest(query="q", passages=["a"]), None)
    assert caught.value.reason == "RERANKER_NOT_CONFIGURED"


async def test_rerank_down_fails(rig: Rig, servicer: RetrieveServicer) -> None:
    rig.reranker.failure = Unavailable("RERANKER_UNAVAILABLE", "m")
    with pytest.raises(Unavailable):
        await servicer.Rerank(pb.RerankRequest(query="q", passages=["a"], rerank=CROSS_ENCODER), None)
