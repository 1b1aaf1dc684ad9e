from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rag.v1.collection_service_pb2 import (
    Collection,
    CreateCollectionRequest,
    CreateCollectionResponse,
)
from rag_server.errors import AlreadyExists, NotFound
from rag_server.metadata.database import Database, Transaction
from rag_server.services.idempotency import Idempotency
from tests.unit.rag_server.services.conftest import in_call


@pytest.fixture(autouse=True)
def call() -> Iterator[None]:
    with in_call():
        yield


class Work:
    """Counts how often it is done; fails the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.count = 0
        self.failures = failures

    async def __call__(self, tx: Transaction) -> CreateCollectionResponse:
        self.count += 1
        await asyncio.sleep(0)
        if self.count <= self.failures:
            raise NotFound.for_resource("collection", "x")
        return CreateCollectionResponse(collection=Collection(id=f"answer-{self.count}"))


def request(request_id: str = "r-1", collection_id: str = "books", **labels: str) -> CreateCollectionRequest:
    return CreateCollectionRequest(
        request_id=request_id, collection_id=collection_id, collection=Collection(labels=labels)
    )


@pytest.fixture
def work() -> Work:
    return Work()


async def once(database: Database, given: CreateCollectionRequest, work: Work) -> str:
    response = await Idempotency(database).once(given, CreateCollectionResponse, work)
    return response.collection.id


async def test_call_repeated_with_its_id_gets_the_first_answer(database: Database, work: Work) -> None:
    assert [await once(database, request(), work) for _ in range(3)] == ["answer-1"] * 3
    assert work.count == 1


async def test_call_repeated_with_maps_in_another_order_is_the_same(database: Database, work: Work) -> None:
    await once(database, request(a="1", b="2"), work)
    assert await once(database, request(b="2", a="1"), work) == "answer-1"


async def test_call_without_an_id_is_done_each_time(database: Database, work: Work) -> None:
    assert [await once(database, request(""), work) for _ in range(2)] == ["answer-1", "answer-2"]


async def test_call_with_the_id_of_another_body_is_refused(database: Database, work: Work) -> None:
    await once(database, request(), work)
    with pytest.raises(AlreadyExists) as caught:
        await once(database, request(collection_id="notes"), work)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert work.count == 1


async def test_call_that_failed_is_not_recorded(database: Database) -> None:
    work = Work(failures=1)
    with pytest.raises(NotFound):
        await once(database, request(), work)
    assert await once(database, request(), work) == "answer-2"
    assert await once(database, request(), work) == "answer-2"


async def test_id_of_another_tenant_or_method_is_another_id(database: Database, work: Work) -> None:
    await once(database, request(), work)
    with in_call(tenant_id="other"):
        assert await once(database, request(), work) == "answer-2"
    with in_call("/rag.v1.CollectionService/DeleteCollection"):
        assert await once(database, request(), work) == "answer-3"


async def test_calls_at_once_with_one_id_are_done_once(
    database: Database, database_url: str, work: Work
) -> None:
    answers = await asyncio.gather(*(once(database, request(), work) for _ in range(5)))
    assert len(set(answers)) == 1
    count = work.count
    # PostgreSQL lets several begin, and commits what one of them did
    assert count == 1 or database_url.startswith("postgresql")
    assert await once(database, request(), work) == answers[0]
    assert work.count == count
