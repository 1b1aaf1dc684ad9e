"""The engine in memory behaves as every retriever must."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Engine
from rag_server.errors import NotFound
from rag_server.query.resident.retriever import INLINE_COUNT, INLINE_TERMS, ResidentRetriever
from rag_server.query.retriever import Probe
from rag_server.testing.retrieval_corpus import CorpusDocument
from rag_server.testing.retriever_suite import RetrieverSuite
from tests.unit.rag_server.query.resident.resident_library import (
    BOTH,
    ODD,
    ResidentLibrary,
    Shelf,
    document,
    open_database,
)


@pytest.fixture
def library(shelf: Shelf, executor: ThreadPoolExecutor) -> ResidentLibrary:
    return ResidentLibrary(shelf, executor)


class SeededLibrary(ResidentLibrary):
    """Has the corpus of most tests published already: publishing takes longer than these tests."""

    def __init__(self, shelf: Shelf, corpus: Shelf, executor: ThreadPoolExecutor) -> None:
        super().__init__(shelf, executor)
        self._corpus = corpus

    async def put(self, documents: Sequence[CorpusDocument]) -> None:
        is_first = not self.shelf.visible
        has_records = any(passage.metadata for each in documents for passage in each.passages)
        if is_first and not has_records and [each.id for each in documents] == list(self._corpus.visible):
            self.shelf = self._corpus
        else:
            await super().put(documents)


class TestResidentRetriever(RetrieverSuite):
    """The suite, over one collection in memory that is kept up by increments."""

    @pytest.fixture
    async def library(
        self, seeded: tuple[Path, Shelf], tmp_path: Path, executor: ThreadPoolExecutor
    ) -> AsyncIterator[ResidentLibrary]:
        folder, corpus = seeded
        shutil.copytree(folder, tmp_path / "database")
        database = await open_database(tmp_path / "database")
        store = corpus.store.copy()
        own = replace(corpus, database=database, store=store, visible=dict(corpus.visible))
        yield SeededLibrary(await Shelf.make(database, store), own, executor)
        await database.close()


async def test_retriever_sees_the_latest_revision_that_is_known(library: ResidentLibrary) -> None:
    """Of the two it is told: what the call resolved, and what was announced."""
    shelf = library.shelf
    await shelf.put(document("a"))
    old = shelf.collection
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    assert shelf.collection.revision == 2

    def retriever(head: int | None) -> ResidentRetriever:
        return ResidentRetriever(resident, old, lambda uid: head, library.masks, library.executor)

    (found,) = await retriever(None).search([BOTH])
    assert (found.revision, found.is_stale, found.chunk_count) == (1, False, 3)
    (found,) = await retriever(2).search([BOTH])
    assert (found.revision, found.is_stale, found.chunk_count) == (2, False, 6)
    assert found.engine is Engine.RESIDENT


QUICK = replace(BOTH, count=10)


class CountingExecutor(ThreadPoolExecutor):
    """Knows how often it was asked."""

    count = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return super().submit(*args, **kwargs)


@pytest.mark.parametrize(
    ("probe", "is_quick"),
    [
        (QUICK, True),
        (replace(QUICK, lexical=LexicalQuery(("router",) * (INLINE_TERMS + 1))), False),
        (replace(QUICK, count=INLINE_COUNT + 1), False),
        (replace(QUICK, filter=ODD), False),
        (replace(QUICK, lexical=LexicalQuery(("router",), excluded=(("plaza",),))), False),
    ],
    ids=["small", "many-terms", "many-candidates", "filter", "exclusion"],
)
async def test_retriever_leaves_the_event_loop_for_what_may_take_long(
    shelf: Shelf, probe: Probe, is_quick: bool
) -> None:
    with CountingExecutor(1) as executor:
        library = ResidentLibrary(shelf, executor)
        await library.put([document("a"), document("b")])
        (found,) = await (await library.retriever()).search([probe])
        assert found.chunk_count == 6
        assert executor.count == (0 if is_quick else 1)


async def test_retriever_counts_rows_that_have_died_as_work(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_server.query.resident.retriever.INLINE_ROWS", 4)
    with CountingExecutor(1) as executor:
        library = ResidentLibrary(shelf, executor)
        await library.put([document("a"), document("b")])
        await library.retriever()
        await shelf.delete("b")
        (found,) = await (await library.retriever()).search([QUICK])
        assert (found.chunk_count, executor.count) == (3, 1)


async def test_retriever_of_an_empty_collection_finds_nothing(library: ResidentLibrary) -> None:
    (found,) = await (await library.retriever()).search([BOTH])
    assert len(found.candidates) == 0
    assert (found.chunk_count, found.passing_count, found.revision) == (0, 0, 0)
    assert found.candidates.dense is not None
    assert found.candidates.lexical is not None
    assert await found.chunks(found.candidates.positions) == []
    assert await found.inspect(["a"]) == [None]


async def test_retriever_of_a_deleted_collection_raises_not_found(library: ResidentLibrary) -> None:
    await library.put([document("a")])
    resident = await library.shelf.loaded()
    await library.shelf.drop()
    retriever = ResidentRetriever(
        resident, library.collection, lambda uid: 2, library.masks, library.executor
    )
    with pytest.raises(NotFound):
        await retriever.search([BOTH])
