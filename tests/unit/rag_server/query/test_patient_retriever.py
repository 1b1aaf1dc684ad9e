"""A collection on its way into memory: who answers, and after which wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag_server.errors import Unavailable
from rag_server.query.patient_retriever import PatientRetriever
from rag_server.query.retriever import Found, Probe, Retriever

DOWN = Unavailable("VECTOR_STORE_UNAVAILABLE", "m")


class Named:
    """A retriever that finds its own name, or fails."""

    def __init__(self, name: str, failure: Exception | None = None) -> None:
        self.name = name
        self.failure = failure
        self.count = 0

    async def search(self, probes: Sequence[Probe]) -> list[Found]:
        self.count += 1
        if self.failure is not None:
            raise self.failure
        return [self.name]  # type: ignore[list-item]  # told apart by it


MEMORY = Named("memory")


class Builds:
    """Answers each wait for the build with what is next."""

    def __init__(self, *outcomes: Retriever | None) -> None:
        self.outcomes = list(outcomes)
        self.waits: list[float | None] = []

    async def __call__(self, patience_s: float | None) -> Retriever | None:
        self.waits.append(patience_s)
        return self.outcomes.pop(0)


async def search(store: Named, builds: Builds, patience_s: float | None) -> list[Found]:
    return await PatientRetriever(store, builds, patience_s).search([])


@pytest.mark.parametrize("patience_s", [0.5, None])
async def test_search_build_that_ends_in_time_answers(patience_s: float | None) -> None:
    store, builds = Named("store"), Builds(MEMORY)
    assert await search(store, builds, patience_s) == ["memory"]
    assert builds.waits == [patience_s]
    assert store.count == 0


async def test_search_after_the_wait_the_store_answers() -> None:
    builds = Builds(None)
    assert await search(Named("store"), builds, 0.5) == ["store"]
    assert builds.waits == [0.5]


async def test_search_store_that_fails_leaves_it_to_the_build_however_long() -> None:
    builds = Builds(None, MEMORY)
    assert await search(Named("store", DOWN), builds, 0.5) == ["memory"]
    assert builds.waits == [0.5, None]


async def test_search_neither_can_fails_as_the_store_did() -> None:
    with pytest.raises(Unavailable) as caught:
        await search(Named("store", DOWN), Builds(None, None), 0.5)
    assert caught.value is DOWN
