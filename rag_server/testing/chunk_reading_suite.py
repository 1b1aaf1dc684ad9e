"""What every `ChunkStore` must do, reading in bulk and within a `Scope` included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from rag_server.backends.protocols import ChunkStore
from rag_server.domain.collection import Collection
from rag_server.domain.filter import Comparison, Operator
from rag_server.domain.lexical import Bm25, Phrase
from rag_server.domain.stored import Scope, StoredChunks
from rag_server.testing.chunk_store_suite import ChunkStoreSuite
from rag_server.testing.chunks import DIMENSION, HOSTILE_TEXTS, axis, make_chunk

MANY = 1_100
"""Chunks: more than one batch of any store."""


async def read_all(batches: AsyncGenerator[StoredChunks, None]) -> dict[str, tuple[object, object, object]]:
    """Return chunk, vector and lexemes by chunk id; no id may come twice."""
    found: dict[str, tuple[object, object, object]] = {}
    async for batch in batches:
        assert batch.vectors.dtype == np.float32
        assert batch.vectors.shape == (len(batch), DIMENSION)
        for chunk, vector, lexemes in zip(batch.chunks, batch.vectors, batch.lexemes, strict=True):
            assert chunk.id not in found
            found[chunk.id] = (chunk, vector.tolist(), lexemes)
    return found


class ChunkReadingSuite(ChunkStoreSuite):
    """`ChunkStoreSuite`, and what the retrievers read with."""

    async def test_scan_returns_all_that_was_written(self, store: ChunkStore, collection: Collection) -> None:
        """Chunks, vectors as they were written, lexemes in order: whatever letters they are made of."""
        chunks = [replace(make_chunk(0, document_id=text), text=text * 3) for text in HOSTILE_TEXTS]
        vectors = np.random.default_rng(1).standard_normal((len(chunks), DIMENSION)).astype(np.float32)
        lexemes = [["plaza", text, "azz", "z", text[:1], "3.14"] for text in HOSTILE_TEXTS]
        lexemes[0] = []
        await self.write(store, collection, chunks, vectors=vectors, lexemes=lexemes)
        expected = {
            chunk.id: (chunk, vector.tolist(), terms)
            for chunk, vector, terms in zip(chunks, vectors, lexemes, strict=True)
        }
        assert await read_all(store.scan(collection)) == expected
        stored = await store.read_chunks(collection, [chunk.id for chunk in chunks])
        assert stored.chunks == chunks
        assert stored.lexemes == lexemes
        np.testing.assert_array_equal(stored.vectors, vectors)

    async def test_scan_of_many_chunks_returns_each_once_after_rewrites_and_removals(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """The newest values of what is left, of all revisions."""
        chunks = [make_chunk(i, document_id=f"d{i % 7}", revision=1 + i % 2) for i in range(MANY)]
        await self.write(store, collection, chunks, lexemes=[["old"]] * MANY)
        rewritten = [replace(chunk, text="new") for chunk in chunks[::3]]
        await self.write(store, collection, rewritten, lexemes=[["new"]] * len(rewritten))
        await store.delete_document(collection.tenant_id, collection.uid, "d3")
        again = [chunk for chunk in chunks if chunk.document_id == "d3"][:2]
        await self.write(store, collection, again, lexemes=[["back"]] * 2)
        await store.delete_document(collection.tenant_id, collection.uid, "d4", revision=2)
        expected = {
            chunk.id: (chunk, axis(0)[0].tolist(), [term])
            for batch, term in ((chunks, "old"), (rewritten, "new"))
            for chunk in batch
            if chunk.document_id != "d3" and (chunk.document_id, chunk.document_revision) != ("d4", 2)
        } | {chunk.id: (chunk, axis(0)[0].tolist(), ["back"]) for chunk in again}
        assert await read_all(store.scan(collection)) == expected
        assert await store.count(collection) == len(expected)
        assert await read_all(store.scan(collection)) == expected  # reading changed nothing

    async def test_scan_of_a_missing_or_foreign_collection_is_empty(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """The tenant is part of bulk reads, too."""
        assert await read_all(store.scan(collection)) == {}
        assert len(await store.read_chunks(collection, ["a"])) == 0
        await store.ensure_collection(collection)
        assert await read_all(store.scan(collection)) == {}
        await self.write(store, collection, [make_chunk(0)])
        foreign = replace(collection, tenant_id="evil")
        assert await read_all(store.scan(foreign)) == {}
        assert len(await store.read_chunks(foreign, [make_chunk(0).id])) == 0

    async def test_scan_beside_writes_returns_all_that_was_there_before_and_nothing_twice(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """What is written meanwhile may or may not be seen; what is rewritten is there."""
        before = [make_chunk(i) for i in range(MANY)]
        await self.write(store, collection, before)

        async def write(document: int) -> None:
            await self.write(
                store, collection, [make_chunk(i, document_id=f"new{document}") for i in range(20)]
            )
            await self.write(store, collection, before[:5])
            await store.delete_document(collection.tenant_id, collection.uid, f"new{document}")

        async def scan() -> None:
            found = await read_all(store.scan(collection))
            assert {chunk.id for chunk in before} <= found.keys()
            assert all(chunk_id.startswith(("guide:", "new")) for chunk_id in found)

        await asyncio.gather(scan(), *(write(i) for i in range(3)), scan())
        assert await store.count(collection) == MANY

    async def test_scan_left_early_leaves_the_store_usable(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Closed, and cancelled while it waits."""
        chunks = [make_chunk(i) for i in range(MANY)]
        await self.write(store, collection, chunks)
        async with aclosing(store.scan(collection)) as batches:
            first = await anext(batches)
        assert 0 < len(first) < MANY

        async def scan() -> None:
            await read_all(store.scan(collection))

        task = asyncio.create_task(scan())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.write(store, collection, [make_chunk(MANY)])
        assert len(await read_all(store.scan(collection))) == MANY + 1

    async def test_read_chunks_keeps_the_order_and_leaves_out_what_is_missing(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """Each once, rows that are still in a write buffer and rows that are not."""
        chunks = [make_chunk(i) for i in range(MANY)]
        await self.write(store, collection, chunks, lexemes=[[f"w{i}"] for i in range(MANY)])
        late = make_chunk(0, document_id="late")
        await self.write(store, collection, [late], vectors=axis(3), lexemes=[["late"]])
        await store.delete_document(collection.tenant_id, collection.uid, "guide", before_revision=1)
        ids = [chunks[7].id, late.id, "absent", chunks[2].id, chunks[7].id, '" or "1" == "1']
        stored = await store.read_chunks(collection, ids)
        assert stored.chunks == [chunks[7], late, chunks[2]]
        assert stored.lexemes == [["w7"], ["late"], ["w2"]]
        np.testing.assert_array_equal(stored.vectors, np.concatenate([axis(0), axis(3), axis(0)]))
        empty = await store.read_chunks(collection, [])
        assert (len(empty), empty.vectors.shape) == (0, (0, DIMENSION))

    @pytest.mark.parametrize(
        ("phrases", "excluded", "expected"),
        [
            ([("b",)], [], [0, 1, 2, 3]),
            ([("b", "c")], [], [0, 1]),
            ([("a", "b", "c")], [], [0]),
            ([("c", "b")], [], [2]),
            ([("bc",)], [], [4]),
            ([("b", "c"), ("d",)], [], [1]),
            ([], [("b", "c")], [2, 3, 4, 5]),
            ([], [("b",), ("bc",)], [5]),
            ([("b",)], [("c", "b")], [0, 1, 3]),
            ([("3.14",)], [], [5]),
            ([("314",)], [], []),
            ([("a%",)], [], []),
            ([("_",)], [], []),
            ([("plaza", "año")], [], [5]),
        ],
    )
    async def test_phrases_and_exclusions_hold_in_both_legs(
        self,
        store: ChunkStore,
        collection: Collection,
        phrases: list[Phrase],
        excluded: list[Phrase],
        expected: list[int],
    ) -> None:
        """At the start, in the middle, at the end, and as the whole; whole lexemes only."""
        lexemes = [
            ["a", "b", "c"],
            ["b", "c", "d"],
            ["d", "c", "b"],
            ["b"],
            ["a", "bc"],
            ["3.14", "plaza", "año"],
        ]
        await self.write(store, collection, [make_chunk(i) for i in range(6)], lexemes=lexemes)
        scope = Scope(phrases=tuple(phrases), excluded=tuple(excluded))
        dense = await store.search_dense(collection, axis(0)[0], limit=9, scope=scope)
        assert sorted(hit.chunk.ordinal for hit in dense) == expected
        terms = sorted({term for each in lexemes for term in each})
        lexical = await store.search_lexical(collection, terms, limit=9, scope=scope)
        assert sorted(hit.chunk.ordinal for hit in lexical) == expected

    async def test_search_within_chunk_ids_scores_only_these_and_as_before(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """A restriction changes who is returned, not what they score; it joins the other conditions."""
        chunks = [make_chunk(i) for i in range(12)]
        vectors = np.random.default_rng(2).standard_normal((12, DIMENSION)).astype(np.float32)
        lexemes = [["word"] * (1 + i % 4) + ["even" if i % 2 == 0 else "odd"] for i in range(12)]
        await self.write(store, collection, chunks, vectors=vectors, lexemes=lexemes, metadata={"kind": "a"})
        ids = (chunks[9].id, chunks[4].id, "absent", '"', chunks[5].id)

        async def dense(scope: Scope) -> dict[str, float]:
            hits = await store.search_dense(collection, vectors[3], limit=12, scope=scope)
            return {hit.chunk.id: hit.score for hit in hits}

        async def lexical(scope: Scope) -> dict[str, float]:
            hits = await store.search_lexical(collection, ["word", "odd"], limit=12, scope=scope)
            return {hit.chunk.id: hit.score for hit in hits}

        for search in (dense, lexical):
            everything = await search(Scope())
            some = await search(Scope(chunk_ids=ids))
            assert some.keys() == {chunks[9].id, chunks[4].id, chunks[5].id}
            assert some == pytest.approx({each: everything[each] for each in some}, rel=1e-5)
            joined = Scope(
                Comparison("metadata.kind", Operator.EQUAL, "a"), (("odd",),), (("even",),), chunk_ids=ids
            )
            assert (await search(joined)).keys() == {chunks[9].id, chunks[5].id}
            assert await search(Scope(chunk_ids=())) == {}

    @pytest.mark.parametrize("bm25", [Bm25(), Bm25(k1=0.5, b=0.0), Bm25(k1=2.0, b=1.0)])
    async def test_lexical_search_uses_the_parameters_of_the_collection(
        self, store: ChunkStore, collection: Collection, bm25: Bm25
    ) -> None:
        """As far as lengths are concerned, engines keep them in one byte: a few percent."""
        collection = replace(collection, bm25=bm25)
        lexemes = [["word"], ["word"] * 3, ["word", *["other"] * 5]]
        await self.write(store, collection, [make_chunk(i) for i in range(3)], lexemes=lexemes)
        found = await store.search_lexical(collection, ["word"], limit=3)
        idf = np.log(1 + 0.5 / 3.5)
        mean = sum(map(len, lexemes)) / 3

        def score(terms: list[str]) -> float:
            frequency = terms.count("word")
            norm = bm25.k1 * (1 - bm25.b + bm25.b * len(terms) / mean)
            return float(idf * frequency * (bm25.k1 + 1) / (frequency + norm))

        expected = {i: pytest.approx(score(terms), rel=0.05) for i, terms in enumerate(lexemes)}
        assert {hit.chunk.ordinal: hit.score for hit in found} == expected

    async def test_lexical_search_counts_a_repeated_term_twice(
        self, store: ChunkStore, collection: Collection
    ) -> None:
        """And returns no chunk that holds none of the terms."""
        await self.write(store, collection, [make_chunk(0), make_chunk(1)], lexemes=[["word"], ["other"]])
        (once,) = await store.search_lexical(collection, ["word"], limit=3)
        (twice,) = await store.search_lexical(collection, ["word", "word"], limit=3)
        assert twice.score == pytest.approx(2 * once.score, rel=1e-5)
