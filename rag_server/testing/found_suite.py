"""What everything that a `Retriever` finds must do. Part of `RetrieverSuite`; it needs the same fixtures."""

from __future__ import annotations

import numpy as np
import pytest

from rag_server.domain.retrieval import Leg
from rag_server.testing.retrieval_corpus import (
    CorpusDocument,
    ReferenceSearch,
    make_documents,
)
from rag_server.testing.retriever_library import (
    CONDITIONS,
    DENSE_TOLERANCE,
    FILTERS,
    QUERY,
    TERMS,
    Library,
    keys_of,
    probe,
    search,
)


class FoundSuite:
    """The behaviour that the stages after the search rely on: passages, vectors, neighbours, inspection."""

    @pytest.fixture
    def documents(self) -> list[CorpusDocument]:
        """Return the corpus of most tests, 48 passages."""
        return make_documents()

    async def test_found_keeps_its_passages_when_the_collection_changes(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """What was found stays what it was."""
        await library.put(documents)
        (found,) = await search(library, probe())
        keys = await keys_of(found)
        await library.delete("doc00")
        await library.put([CorpusDocument("doc01", documents[0].passages[:1])])
        assert await keys_of(found) == keys

    async def test_chunks_and_vectors_come_in_the_order_asked_for(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """Whole, also when asked twice; also those that only one leg returned."""
        await library.put(documents)
        (found,) = await search(library, probe(count=5))
        passages = ReferenceSearch(documents).passages()
        positions = found.candidates.positions[::-1]
        positions = np.concatenate([positions, positions[:2]])
        chunks = await found.chunks(positions)
        by_document = {document.id: document for document in documents}
        for chunk in chunks:
            whole = by_document[chunk.document_id].chunks(library.collection, chunk.document_revision)
            assert chunk == whole[chunk.ordinal]
        vectors = await found.vectors(positions)
        assert vectors.dtype == np.float32
        expected = [passages[chunk.document_id, chunk.ordinal].vector for chunk in chunks]
        np.testing.assert_allclose(vectors, np.array(expected), atol=DENSE_TOLERANCE)

    @pytest.mark.parametrize("count", [0, 1, 2, 9])
    async def test_neighbours_are_those_of_the_document_in_order(
        self, library: Library, documents: list[CorpusDocument], count: int
    ) -> None:
        """Fewer at its ends; never of another document or revision, whatever the filter says."""
        await library.put(documents[:3])
        await library.put(documents[1:2])
        (found,) = await search(library, probe(lexical=CONDITIONS["phrase of one"]))
        assert len(found.candidates) > 0
        around = await found.neighbours(found.candidates.positions, count)
        chunks = await found.chunks(found.candidates.positions)
        for chunk, (before, after) in zip(chunks, around, strict=True):
            last = len(documents[0].passages)
            first = max(0, chunk.ordinal - count)
            assert [each.ordinal for each in before] == list(range(first, chunk.ordinal))
            behind = range(chunk.ordinal + 1, min(last, chunk.ordinal + 1 + count))
            assert [each.ordinal for each in after] == list(behind)
            for each in (*before, *after):
                assert (each.document_id, each.document_revision) == (
                    chunk.document_id,
                    chunk.document_revision,
                )

    async def test_inspect_tells_of_each_chunk_whether_it_passes_and_what_it_scores(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """Found or not; None of what is not visible."""
        await library.put(documents)
        await library.delete("doc05")
        reference = ReferenceSearch(documents)
        cosines = reference.cosines(QUERY)
        lexical = CONDITIONS["excluded"]
        asked = probe(lexical=lexical, filter=FILTERS["boolean"], count=1)
        (found,) = await search(library, asked)
        keys = [("doc00", 0), ("doc01", 1), ("doc02", 3), ("doc04", 2), ("doc05", 0)]
        chunks = {
            (each.document_id, each.ordinal): each.id
            for document in documents
            for each in document.chunks(library.collection, 1)
        }
        inspected = await found.inspect([*(chunks[key] for key in keys), "absent"])
        assert inspected[-2:] == [None, None]
        passing = reference.passing(asked.filter, lexical)
        holding = {key for key, score in reference.bm25_scores(TERMS).items() if score > 0}
        for key, each in zip(keys[:-1], inspected[:-2], strict=True):
            assert each is not None
            assert each.is_passing == (key in passing)
            assert each.scores[Leg.DENSE] == pytest.approx(cosines[key], abs=DENSE_TOLERANCE)
            assert (each.scores[Leg.LEXICAL] > 0) == (key in holding)
