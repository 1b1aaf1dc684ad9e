"""Collections with real metadata and a chunk store in memory, to bring into memory and to search."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import Chunk, DocumentHead, NewDocument, Span, chunk_id
from rag_server.domain.filter import Comparison, Operator
from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.publication import Publication
from rag_server.domain.stored import StoredChunks
from rag_server.errors import Unavailable
from rag_server.metadata.database import Database
from rag_server.query.resident.builder import SegmentBuilder
from rag_server.query.resident.collection import ResidentCollection
from rag_server.query.resident.found import ResidentFound
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.retriever import ResidentRetriever
from rag_server.query.resident.search import search
from rag_server.query.resident.segment import Segment
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.source import CollectionSource
from rag_server.query.resident.state import State
from rag_server.query.resident.vocabulary import Vocabulary
from rag_server.query.retriever import Probe
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from rag_server.testing.retrieval_corpus import DIMENSION, CorpusDocument, CorpusPassage, unit_vectors

T = TypeVar("T")
TENANT = "acme"
MODEL = "test"
QUERY = unit_vectors(1, seed=7)[0]
WORDS = ("router", "cable", "modem", "fuse", "lamp", "plaza")
ALL = 1_000
ODD = Comparison("metadata.odd", Operator.EQUAL, True)
BOTH = Probe(QUERY, LexicalQuery(("router", "plaza")), None, ALL)


def document(name: str, seed: int = 0, passages: int = 3, **metadata: Any) -> CorpusDocument:
    """Return a document of random passages; `seed` tells its versions apart."""
    own = (sum(name.encode()) * 1_000 + seed) % 2**32
    generator = np.random.default_rng(own)
    vectors = unit_vectors(passages, seed=own)
    texts = [generator.choice(WORDS, 3 + int(generator.integers(5))).tolist() for _ in range(passages)]
    return CorpusDocument(
        name,
        tuple(CorpusPassage(vector, tuple(text)) for vector, text in zip(vectors, texts, strict=True)),
        {"seed": seed, "odd": (own + own // 1_000) % 2 == 1, **metadata},
    )


def head_of(document: CorpusDocument, revision: int) -> DocumentHead:
    """Return what the metadata says of a revision."""
    return DocumentHead(
        document.id,
        revision,
        f"Document {document.id}",
        document.source_uri,
        document.media_type,
        document.metadata,
        len(document.passages),
    )


def stored(collection: Collection, document: CorpusDocument, revision: int) -> StoredChunks:
    """Return what the store holds of a revision."""
    lexemes = [list(passage.lexemes) for passage in document.passages]
    return StoredChunks(document.chunks(collection, revision), document.vectors, lexemes)


def segment_of(
    collection: Collection, documents: Mapping[str, tuple[CorpusDocument, int]], vocabulary: Vocabulary
) -> Segment:
    """Return a segment of documents with their revisions, by id."""
    heads = [head_of(*each) for each in documents.values()]
    builder = SegmentBuilder(heads, DIMENSION, vocabulary)
    for each in documents.values():
        builder.add(stored(collection, *each))
    return builder.build()


def large_segment(collection: Collection, rows: int, vocabulary: Vocabulary) -> Segment:
    """Return a segment of `rows` passages, a hundred to a document."""
    vectors = unit_vectors(rows, seed=5)
    heads, chunks, lexemes = [], [], []
    for start in range(0, rows, 100):
        count = min(100, rows - start)
        name = f"big{start:08}"
        heads.append(DocumentHead(name, 1, name, "", "text/plain", {"start": start}, count))
        for ordinal in range(count):
            chunks.append(plain_chunk(collection, name, 1, ordinal))
            lexemes.append([WORDS[(start + ordinal * each) % len(WORDS)] for each in range(1, 5)])
    builder = SegmentBuilder(heads, DIMENSION, vocabulary)
    builder.add(StoredChunks(chunks, vectors, lexemes))
    return builder.build()


def plain_chunk(collection: Collection, document_id: str, revision: int, ordinal: int) -> Chunk:
    return Chunk(
        chunk_id(collection.tenant_id, collection.uid, document_id, revision, ordinal),
        collection.tenant_id,
        collection.id,
        document_id,
        revision,
        ordinal,
        f"{document_id} {ordinal}",
        Span(0, 5),
        (),
        2,
        None,
        None,
        document_id,
        "",
        "text/plain",
    )  # fmt: skip


class FlakyStore(MemoryChunkStore):
    """A store that can be down, and that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.scan_count = 0
        self.read_count = 0

    async def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        self._fail()
        self.scan_count += 1
        async for batch in super().scan(collection):
            self._fail()
            yield batch

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        self._fail()
        self.read_count += 1
        return await super().read_chunks(collection, chunk_ids)

    def copy(self) -> FlakyStore:
        """Return a store that holds the same."""
        other = FlakyStore()
        other._rows = {uid: dict(rows) for uid, rows in self._rows.items()}
        return other

    def _fail(self) -> None:
        if self.is_down:
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "the store is down")


@dataclass
class Shelf:
    """One collection in the metadata and in the store, written as ingest writes it."""

    database: Database
    store: FlakyStore
    collection: Collection
    visible: dict[str, tuple[CorpusDocument, int]] = field(default_factory=dict)
    """What readers may see: documents and their revisions, by id."""

    @classmethod
    async def make(cls, database: Database, store: FlakyStore, name: str = "books", **fields: Any) -> Shelf:
        """Create the collection `name`."""
        async with database.transaction() as tx:
            collection = await tx.collections.create(
                TENANT, NewCollection(name, **fields), embedding_model=MODEL, dimension=DIMENSION
            )
        await store.ensure_collection(collection)
        return cls(database, store, collection)

    async def put(self, *documents: CorpusDocument, is_swept: bool = True) -> None:
        """Publish a revision of each, at once; the ones before it leave the store if `is_swept`."""
        uid = self.collection.uid
        async with self.database.transaction() as tx:
            jobs = [
                await tx.jobs.create(TENANT, uid, self._new(each), chunking=TokenChunking())
                for each in documents
            ]
        revisions = [job.document_revision for job in jobs]
        for each, revision in zip(documents, revisions, strict=True):
            own = stored(self.collection, each, revision)
            metadata: dict[str, object] = {**each.metadata}
            await self.store.upsert(self.collection, own.chunks, own.vectors, own.lexemes, metadata)
        async with self.database.transaction() as tx:
            for each, job in zip(documents, jobs, strict=True):
                await tx.documents.publish(TENANT, job.id, _publication(each))
        for each, revision in zip(documents, revisions, strict=True):
            self.visible[each.id] = (each, revision)
            if is_swept:
                await self.store.delete_document(TENANT, uid, each.id, before_revision=revision)
        await self.refresh()

    def _new(self, document: CorpusDocument) -> NewDocument:
        return NewDocument(
            self.collection.id,
            document.id,
            title=f"Document {document.id}",
            source_uri=document.source_uri,
            metadata=document.metadata,
        )

    async def delete(self, document_id: str) -> None:
        """Delete a document, and its rows."""
        async with self.database.transaction() as tx:
            await tx.documents.delete(TENANT, self.collection.uid, document_id)
        await self.store.delete_document(TENANT, self.collection.uid, document_id)
        del self.visible[document_id]
        await self.refresh()

    async def drop(self) -> None:
        """Delete the collection."""
        async with self.database.transaction() as tx:
            await tx.collections.delete(TENANT, self.collection.id)
        await self.store.drop_collection(self.collection.uid)

    async def refresh(self) -> None:
        async with self.database.snapshot() as tx:
            self.collection = await tx.collections.get_by_uid(TENANT, self.collection.uid)

    def resident(self, snapshots: SnapshotFolder | None = None) -> ResidentCollection:
        """Return the collection, not loaded yet."""
        return ResidentCollection(self.collection, CollectionSource(self.database, self.store), snapshots)

    async def loaded(self, snapshots: SnapshotFolder | None = None) -> ResidentCollection:
        """Return the collection, in memory."""
        resident = self.resident(snapshots)
        await resident.load()
        return resident

    def rebuilt(self) -> State:
        """Return what is visible as one segment made from nothing."""
        state = State.empty(self.collection.revision)
        return state.with_segment(segment_of(self.collection, self.visible, state.vocabulary))


def _publication(document: CorpusDocument) -> Publication:
    tokens = sum(len(passage.lexemes) for passage in document.passages)
    title = f"Document {document.id}"
    return Publication(title, document.media_type, "0" * 64, 0, "en", len(document.passages), tokens)


@dataclass
class ResidentLibrary:
    """The `Library` of the retriever suite over a collection in memory."""

    shelf: Shelf
    executor: ThreadPoolExecutor
    resident: ResidentCollection | None = None
    masks: MaskCache = field(default_factory=lambda: MaskCache(1 << 20))

    @property
    def collection(self) -> Collection:
        return self.shelf.collection

    async def put(self, documents: Sequence[CorpusDocument]) -> None:
        await self.shelf.put(*documents)

    async def delete(self, document_id: str) -> None:
        await self.shelf.delete(document_id)

    async def retriever(self) -> ResidentRetriever:
        if self.resident is None:
            self.resident = await self.shelf.loaded()
        return ResidentRetriever(
            self.resident, self.shelf.collection, lambda uid: None, self.masks, self.executor
        )


async def open_database(folder: Path) -> Database:
    """Open an empty database in `folder`."""
    return await Database.open(f"sqlite+aiosqlite:///{folder / 'metadata.db'}")


def find(collection: Collection, state: State, probe: Probe = BOTH) -> ResidentFound:
    """Search a state."""
    (hits,) = search(state, [probe], collection.bm25, MaskCache(0))
    return ResidentFound(collection, state, probe, hits, is_stale=False)


def now(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


Answer = dict[str, list[float]]
"""The dense and the lexical score, by chunk id; NaN: the leg did not run."""


def answer_of(found: ResidentFound) -> Answer:
    """Return what was found, in a form that does not depend on positions."""
    chunks = now(found.chunks(found.candidates.positions))
    legs = (found.candidates.dense, found.candidates.lexical)
    none = [math.nan] * len(chunks)
    columns = [none if leg is None else leg.scores.tolist() for leg in legs]
    return {chunk.id: list(scores) for chunk, scores in zip(chunks, zip(*columns, strict=True), strict=True)}


def best_scores(found: ResidentFound) -> list[float]:
    """Return the scores of each leg in the order of its ranks, which must be without a gap."""
    scores: list[float] = []
    for leg in (found.candidates.dense, found.candidates.lexical):
        if leg is not None:
            order = [place for place in np.argsort(leg.ranks, kind="stable") if leg.ranks[place]]
            assert leg.ranks[order].tolist() == [*range(1, len(order) + 1)]
            scores += leg.scores[order].tolist()
    return scores


def assert_same_answer(one: Answer, other: Answer) -> None:
    """Fail unless both are the same passages with the same scores."""
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-6, atol=1e-6)


def assert_same(collection: Collection, state: State, expected: State) -> None:
    """Fail unless searching `state` equals searching `expected`, and it holds the same passages."""
    assert state.alive_count == expected.alive_count
    assert statistics_of(state) == statistics_of(expected)
    phrases, excluded = (("router",), ("fuse", "lamp")), (("modem", "fuse"),)
    for probe in (
        BOTH,
        Probe(QUERY, LexicalQuery(("lamp", "lamp", "fuse"), phrases=phrases[:1]), None, ALL),
        Probe(None, LexicalQuery(("cable", "modem"), excluded=excluded), ODD, ALL),
    ):
        mine, theirs = find(collection, state, probe), find(collection, expected, probe)
        assert mine.passing_count == theirs.passing_count
        assert_same_answer(answer_of(mine), answer_of(theirs))
        few = replace(probe, count=3)
        mine, theirs = find(collection, state, few), find(collection, expected, few)
        np.testing.assert_allclose(best_scores(mine), best_scores(theirs), rtol=1e-6, atol=1e-6)
    assert passages_of(collection, state) == passages_of(collection, expected)


def statistics_of(state: State) -> tuple[int, int, dict[str, int]]:
    """Return the statistics, by term."""
    frequencies = state.statistics.document_frequencies.tolist()
    by_term = zip(state.vocabulary.terms(), frequencies, strict=False)
    counted = {term: frequency for term, frequency in by_term if frequency}
    return state.statistics.row_count, state.statistics.total_length, counted


def passages_of(collection: Collection, state: State) -> dict[str, tuple[Chunk, list[float], object]]:
    """Return every living passage with its vector and its neighbours."""
    found = find(collection, state, Probe(QUERY, None, None, ALL))
    positions = found.candidates.positions
    chunks = now(found.chunks(positions))
    vectors = now(found.vectors(positions))
    neighbours = now(found.neighbours(positions, 2))
    return {
        chunk.id: (chunk, vector.tolist(), around)
        for chunk, vector, around in zip(chunks, vectors, neighbours, strict=True)
    }
