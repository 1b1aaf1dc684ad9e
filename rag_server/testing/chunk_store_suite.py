"""What every `ChunkStore` must do. Subclass it and provide the fixture `store`.

class TestMilvusChunkStore(ChunkStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from rag_server.backends.protocols import ChunkStore, Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.filter import Bool, Comparison, Membership, Operator, Prefix
from rag_server.domain.metadata import Metadata
from rag_server.domain.page_boxes import PageBox
from rag_server.domain.stored import Scope
from rag_server.errors import RagError
from rag_server.testing.chunks import DIMENSION, HOSTILE_TEXTS, axis, make_chunk, make_collection


class ChunkStoreSuite:
    """The behaviour that readers and writers of chunks rely on."""

    @pytest.fixture
    def collection(self) -> Collection:
        """Return a collection that the store does not know yet."""
        return make_collection()

    async def write(
        self,
        store: ChunkStore,
        collection: Collection,
        chunks: Sequence[Chunk],
        *,
        vectors: Embeddings | None = None,
        lexemes: Sequence[Sequence[str]] | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        """Create the collection and write `chunks`, by default each on the first axis and without lexemes."""
        await store.ensure_collection(collection)
        await store.upsert(
            collection,
            chunks,
            np.repeat(axis(0), len(chunks), axis=0) if vectors is None else vectors,
            [()] * len(chunks) if lexemes is None else lexemes,
            metadata or {},
        )

    async def test_chunk_written_and_found_comes_back_equal(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Every field survives the round trip, also absent pages."""
        chunk = make_chunk(3)
        await self.write(store, collection, [chunk], lexemes=[["señal"]])
        (dense,) = await store.search_dense(collection, axis(0)[0], limit=5)
        (lexical,) = await store.search_lexical(collection, ["señal"], limit=5)
        assert dense.chunk == lexical.chunk == chunk
        assert await store.list_chunks(collection, "guide", 1, first_ordinal=0, limit=9) == [chunk]

    async def test_boxes_come_back_beside_the_headings(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Of the chunks that have some; an overwrite without them leaves none."""
        boxes = (PageBox(3, 0, 5, 10_000, 6), PageBox(4, 1, 2, 3, 4))
        chunks = [replace(make_chunk(0), boxes=boxes), make_chunk(1)]
        await self.write(store, collection, chunks)
        assert await store.list_chunks(collection, "guide", 1, first_ordinal=0, limit=9) == chunks
        stored = await store.read_chunks(collection, [chunks[0].id])
        assert stored.chunks == chunks[:1]
        plain = replace(chunks[0], boxes=())
        await self.write(store, collection, [plain])
        assert await store.list_chunks(collection, "guide", 1, first_ordinal=0, limit=1) == [plain]

    async def test_record_comes_back_with_its_metadata_and_is_found_by_it(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """With the types of its values; over the document's, of which the other chunks keep theirs."""
        metadata: Metadata = {
            "price": 5.0,
            "stock": 2**53 + 1,
            "new": True,
            "made": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
            "tags": ("a", "zñ"),
            "kind": "own",
        }
        record, other = replace(make_chunk(1), metadata=metadata), make_chunk(2)
        shared: dict[str, object] = {"kind": "shared", "stock": 1}
        await self.write(store, collection, [record, other], metadata=shared)
        everything = await store.search_dense(collection, axis(0)[0], limit=5)
        assert sorted((hit.chunk for hit in everything), key=lambda chunk: chunk.ordinal) == [record, other]
        (read,) = (await store.read_chunks(collection, [record.id])).chunks
        assert read == record
        assert {name: type(value) for name, value in read.metadata.items()} == {
            name: type(value) for name, value in metadata.items()
        }
        for condition, expected in (
            (Comparison("metadata.kind", Operator.EQUAL, "own"), [record]),
            (Comparison("metadata.kind", Operator.EQUAL, "shared"), [other]),
            (Comparison("metadata.price", Operator.LESS, 5.5), [record]),
            (Comparison("metadata.stock", Operator.EQUAL, 1), [other]),
            (Membership("metadata.tags", ("zñ",)), [record]),
            (Bool(must_not=(Comparison("metadata.price", Operator.GREATER, 0),)), [other]),
        ):
            found = await store.search_dense(collection, axis(0)[0], limit=5, scope=Scope(condition))
            assert [hit.chunk for hit in found] == expected

    async def test_dense_search_orders_by_cosine_best_first(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Scores are cosines, whatever the length of the stored vector."""
        vectors = np.array([[1, 0], [3, 3], [0, 1], [-1, 0]], dtype=np.float32)
        vectors = np.pad(vectors, ((0, 0), (0, DIMENSION - 2)))
        chunks = [make_chunk(i) for i in range(4)]
        await self.write(store, collection, chunks, vectors=vectors)
        found = await store.search_dense(collection, axis(0)[0], limit=3)
        assert [hit.chunk.ordinal for hit in found] == [0, 1, 2]
        assert [hit.score for hit in found] == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-6)

    async def test_ties_are_ordered_by_chunk_id_beyond_the_limit(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Of many equal chunks the first ids are returned, in whatever order they were written."""
        chunks = [make_chunk(i) for i in reversed(range(150))]
        await self.write(store, collection, chunks, lexemes=[["same"]] * 150)
        dense = await store.search_dense(collection, axis(0)[0], limit=4)
        lexical = await store.search_lexical(collection, ["same"], limit=4)
        assert [hit.chunk.ordinal for hit in dense] == [0, 1, 2, 3]
        assert [hit.chunk.ordinal for hit in lexical] == [0, 1, 2, 3]

    async def test_lexical_search_scores_with_bm25(self, store: ChunkStore, collection: Collection) -> None:
        """Okapi BM25, k1 = 1.2, b = 0.75, idf = ln(1 + (N - n + 0.5) / (n + 0.5)); one write."""
        lexemes = [["rare", "word"], ["word"], ["word", "word", "word"], ["other"]]
        await self.write(store, collection, [make_chunk(i) for i in range(4)], lexemes=lexemes)
        found = await store.search_lexical(collection, ["rare", "word"], limit=10)
        mean = 7 / 4

        def score(query: str, terms: list[str]) -> float:
            n = sum(query in document for document in lexemes)
            tf = terms.count(query)
            idf = np.log(1 + (4 - n + 0.5) / (n + 0.5))
            return float(idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(terms) / mean)))

        expected = sorted(((score("rare", d) + score("word", d), -i) for i, d in enumerate(lexemes[:3])))[
            ::-1
        ]
        assert [hit.chunk.ordinal for hit in found] == [-i for _, i in expected]
        assert [hit.score for hit in found] == pytest.approx([s for s, _ in expected], rel=0.05)

    @pytest.mark.parametrize(
        "lexeme", ["dte-33", "3.14", "0043-b", "c++", "plaza", "año", "東京", "ёлка", "a_b"]
    )
    async def test_lexeme_of_any_spelling_is_exactly_one_term(
        self, store: ChunkStore, collection: Collection, lexeme: str
    ) -> None:
        """A lexeme finds itself, and no part of it finds it."""
        await self.write(store, collection, [make_chunk(0)], lexemes=[[lexeme, "filler"]])
        assert len(await store.search_lexical(collection, [lexeme], limit=2)) == 1
        for part in {lexeme[:1], lexeme[1:], lexeme.strip("+"), *lexeme.replace("-", " ").split()} - {
            lexeme,
            "",
        }:
            assert await store.search_lexical(collection, [part], limit=2) == []

    async def test_lexical_search_without_lexemes_finds_nothing(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """A query of stop words only has no lexemes."""
        await self.write(store, collection, [make_chunk(0)], lexemes=[["word"]])
        assert await store.search_lexical(collection, [], limit=3) == []

    async def test_missing_collection_reads_empty(self, store: ChunkStore, collection: Collection) -> None:
        """Collections are created by their first write; before it they are empty, not an error."""
        assert await store.count(collection) == 0
        assert await store.search_dense(collection, axis(0)[0], limit=3) == []
        assert await store.search_lexical(collection, ["word"], limit=3) == []
        assert await store.list_chunks(collection, "guide", 1, first_ordinal=0, limit=3) == []
        await store.delete_document(collection.tenant_id, collection.uid, "guide")
        await store.drop_collection(collection.uid)

    async def test_upsert_into_missing_collection_is_refused(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """A late write must not bring a dropped collection back."""
        with pytest.raises(RagError, match="no collection"):
            await store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
        assert await store.count(collection) == 0

    async def test_ensure_collection_twice_keeps_the_chunks(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """It is idempotent, also when called at the same time."""
        await asyncio.gather(*(store.ensure_collection(collection) for _ in range(4)))
        await self.write(store, collection, [make_chunk(0)])
        await store.ensure_collection(collection)
        assert await store.count(collection) == 1

    async def test_upsert_twice_leaves_one_row_with_the_last_values(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Rows are keyed by chunk id; nothing of the old row remains, its pages included."""
        first = replace(make_chunk(0), page_start=4, page_end=5)
        second = replace(first, text="new", page_start=None, page_end=None, heading_path=())
        await self.write(store, collection, [first], lexemes=[["old"]], metadata={"a": "1"})
        await self.write(store, collection, [second], lexemes=[["new"]], metadata={"b": "1"})
        assert await store.count(collection) == 1
        assert await store.search_lexical(collection, ["old"], limit=3) == []
        (found,) = await store.search_lexical(collection, ["new"], limit=3)
        assert found.chunk == second
        stale = Comparison("metadata.a", Operator.EQUAL, "1")
        assert await store.search_dense(collection, axis(0)[0], limit=3, scope=Scope(filter=stale)) == []

    async def test_upsert_of_many_chunks_writes_all(self, store: ChunkStore, collection: Collection) -> None:
        """More than one batch."""
        await self.write(store, collection, [make_chunk(i) for i in range(300)])
        assert await store.count(collection) == 300  # noqa: PLR2004

    async def test_empty_upsert_does_nothing(self, store: ChunkStore, collection: Collection) -> None:
        """A document without text has no chunks."""
        await self.write(store, collection, [], vectors=np.empty((0, DIMENSION), np.float32))
        assert await store.count(collection) == 0

    async def test_list_chunks_pages_in_order(self, store: ChunkStore, collection: Collection) -> None:
        """Only the asked document and revision, from the asked ordinal on."""
        chunks = [make_chunk(i) for i in (3, 0, 4, 1, 2)]
        others = [make_chunk(0, revision=2), make_chunk(0, document_id="other")]
        await self.write(store, collection, [*chunks, *others])
        pages = [
            await store.list_chunks(collection, "guide", 1, first_ordinal=first, limit=2)
            for first in (0, 2, 4, 6)
        ]
        assert [[chunk.ordinal for chunk in page] for page in pages] == [[0, 1], [2, 3], [4], []]

    @pytest.mark.parametrize(
        ("scope", "left"),
        [
            ({}, ["other:1:00000"]),
            ({"revision": 2}, ["guide:1:00000", "guide:3:00000", "other:1:00000"]),
            ({"before_revision": 3}, ["guide:3:00000", "other:1:00000"]),
        ],
    )
    async def test_delete_document_removes_exactly_its_scope(
        self, store: ChunkStore, collection: Collection, scope: dict[str, int], left: list[str]
    ) -> None:
        """All revisions, one, or the older ones; never another document."""
        chunks = [make_chunk(0, revision=revision) for revision in (1, 2, 3)]
        await self.write(store, collection, [*chunks, make_chunk(0, document_id="other")])
        await store.delete_document(collection.tenant_id, collection.uid, "guide", **scope)
        found = await store.search_dense(collection, axis(0)[0], limit=9)
        assert sorted(hit.chunk.id for hit in found) == left
        assert await store.count(collection) == len(left)

    @pytest.mark.parametrize("document_id", HOSTILE_TEXTS)
    async def test_delete_document_with_hostile_id_removes_only_it(
        self, store: ChunkStore, collection: Collection, document_id: str
    ) -> None:
        """An id is a value, never a piece of an expression."""
        await self.write(store, collection, [make_chunk(0), make_chunk(0, document_id=document_id)])
        await store.delete_document(collection.tenant_id, collection.uid, document_id)
        assert [chunk.document_id for chunk in await self._all(store, collection)] == ["guide"]

    @pytest.mark.parametrize("value", HOSTILE_TEXTS)
    async def test_filter_with_hostile_string_matches_only_it(
        self, store: ChunkStore, collection: Collection, value: str
    ) -> None:
        """Equality, membership and prefix take any text literally, in both legs."""
        await self.write(store, collection, [make_chunk(0)], lexemes=[["word"]], metadata={"name": "plain"})
        other = make_chunk(0, document_id="other")
        await self.write(
            store, collection, [other], lexemes=[["word"]], metadata={"name": value, "tags": [value]}
        )
        for asked in (
            Comparison("metadata.name", Operator.EQUAL, value),
            Membership("metadata.name", (value, "absent")),
            Membership("metadata.tags", (value,)),
            Prefix("metadata.name", value[:-1]),
            Bool(must_not=(Comparison("metadata.name", Operator.EQUAL, "plain"),)),
        ):
            dense = await store.search_dense(collection, axis(0)[0], limit=5, scope=Scope(filter=asked))
            lexical = await store.search_lexical(collection, ["word"], limit=5, scope=Scope(filter=asked))
            assert [hit.chunk.id for hit in dense] == [hit.chunk.id for hit in lexical] == [other.id]

    async def test_foreign_tenant_with_the_same_uid_sees_nothing(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """The tenant is part of every read and delete, whatever collection it names."""
        await self.write(store, collection, [make_chunk(0)], lexemes=[["word"]])
        foreign = replace(collection, tenant_id="evil")
        assert await store.search_dense(foreign, axis(0)[0], limit=3) == []
        assert await store.search_lexical(foreign, ["word"], limit=3) == []
        assert await store.list_chunks(foreign, "guide", 1, first_ordinal=0, limit=3) == []
        assert await store.count(foreign) == 0
        await store.delete_document("evil", collection.uid, "guide")
        assert await store.count(collection) == 1

    async def test_dropped_collection_is_empty_and_can_be_made_again(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Dropping removes everything, and only that collection."""
        other = make_collection()
        await self.write(store, collection, [make_chunk(0)])
        await self.write(store, other, [make_chunk(0)])
        await store.drop_collection(collection.uid)
        assert await store.count(collection) == 0
        assert await store.count(other) == 1
        await self.write(store, collection, [make_chunk(1)])
        assert [chunk.ordinal for chunk in await self._all(store, collection)] == [1]

    @pytest.mark.parametrize("fault", ["nan", "infinite", "zero", "dimension", "count"])
    async def test_upsert_of_unusable_vectors_is_refused_and_writes_nothing(
        self, store: ChunkStore, collection: Collection, fault: str
    ) -> None:
        """A vector without direction would be found by every query or by none."""
        vectors = np.repeat(axis(0), 2, axis=0)
        if fault in {"nan", "infinite"}:
            vectors[1, 3] = np.nan if fault == "nan" else np.inf
        elif fault == "zero":
            vectors[1] = 0
        else:
            vectors = vectors[:, 1:] if fault == "dimension" else vectors[:1]
        with pytest.raises(RagError) as caught:
            await self.write(store, collection, [make_chunk(0), make_chunk(1)], vectors=vectors)
        assert caught.value.reason == "VECTOR_INVALID"
        assert await store.count(collection) == 0

    async def test_search_with_unusable_vector_is_refused(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """The same rule for a query."""
        with pytest.raises(RagError) as caught:
            await store.search_dense(collection, axis(0)[0] * np.nan, limit=3)
        assert caught.value.reason == "VECTOR_INVALID"

    async def test_concurrent_reads_see_every_acknowledged_write(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """While other chunks are written, those that were acknowledged are always counted."""
        await self.write(store, collection, [make_chunk(i) for i in range(10)])

        async def write(document: int) -> None:
            chunks = [make_chunk(i, document_id=f"extra{document}") for i in range(40)]
            await self.write(store, collection, chunks)

        async def read() -> None:
            assert len(await store.list_chunks(collection, "guide", 1, first_ordinal=0, limit=50)) == 10  # noqa: PLR2004

        await asyncio.gather(*(write(i) for i in range(4)), *(read() for _ in range(8)))
        assert await store.count(collection) == 170  # noqa: PLR2004

    async def test_check_passes_while_the_store_answers(self, store: ChunkStore) -> None:
        """It returns nothing."""
        await store.check()

    async def _all(self, store: ChunkStore, collection: Collection) -> list[Chunk]:
        found = await store.search_dense(collection, axis(0)[0], limit=1000)
        return [hit.chunk for hit in found]
