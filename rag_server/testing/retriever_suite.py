"""What every `Retriever` must do. Subclass it and provide the fixture `library`.

class TestStoreRetriever(RetrieverSuite):
    @pytest.fixture
    async def library(self, store): return StoreLibrary(store)

Engines may differ in two things. BM25: the statistics of the chunk store are those of parts of the
collection (Milvus Lite: of each file and of the write buffer) and count rows that were replaced or removed;
so scores are compared only in a corpus that was written and not changed since, within `LEXICAL_TOLERANCE`,
and the order of two passages only where their scores differ by more. Ties: each engine breaks them in an
order of its own, always the same.
"""

from __future__ import annotations

import pytest

from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Leg
from rag_server.testing.found_suite import FoundSuite
from rag_server.testing.retrieval_corpus import (
    CorpusDocument,
    CorpusPassage,
    ReferenceSearch,
    make_documents,
    ranked,
    unit_vectors,
    with_records,
)
from rag_server.testing.retriever_library import (
    ALL,
    CONDITIONS,
    DENSE_TOLERANCE,
    FILTERS,
    LEXICAL_TOLERANCE,
    QUERY,
    TERMS,
    Library,
    assert_ranked_like,
    keys_of,
    probe,
    ranking,
    scores,
    search,
)


class RetrieverSuite(FoundSuite):
    """The behaviour that the stages after the search rely on."""

    @pytest.mark.parametrize("count", [1, 7, 48, ALL])
    async def test_dense_leg_returns_the_nearest_in_order(
        self, library: Library, documents: list[CorpusDocument], count: int
    ) -> None:
        """Exactly: the same ids in the same order, with their cosines."""
        await library.put(documents)
        reference = ReferenceSearch(documents)
        (found,) = await search(library, probe(terms=None, count=count))
        cosines = reference.cosines(QUERY)
        assert await ranking(found, Leg.DENSE) == ranked(cosines, cosines, count)
        for key, score in (await scores(found, Leg.DENSE)).items():
            assert score == pytest.approx(cosines[key], abs=DENSE_TOLERANCE)
        assert found.dense_method
        assert found.candidates.lexical is None

    @pytest.mark.parametrize("count", [1, 7, ALL])
    @pytest.mark.parametrize("terms", [TERMS, ("c++",), ("router", "router", "lamp"), ("año", "unknown")])
    async def test_lexical_leg_returns_what_holds_a_term_by_bm25(
        self, library: Library, documents: list[CorpusDocument], terms: tuple[str, ...], count: int
    ) -> None:
        """The same set, almost the same scores; a term that is asked twice counts twice."""
        await library.put(documents)
        (found,) = await search(library, probe(vector=None, terms=terms, count=count))
        expected = ReferenceSearch(documents).bm25_scores(terms)
        holding = {key for key, score in expected.items() if score > 0}
        returned = await ranking(found, Leg.LEXICAL)
        assert len(returned) == min(count, len(holding))
        assert set(returned) <= holding
        assert_ranked_like(returned, expected, LEXICAL_TOLERANCE)
        left_out = [expected[key] for key in holding - set(returned)]
        assert min(expected[key] for key in returned) >= max(left_out, default=0) * (1 - LEXICAL_TOLERANCE)
        for key, score in (await scores(found, Leg.LEXICAL)).items():
            assert score == pytest.approx(expected[key], rel=LEXICAL_TOLERANCE)
        assert found.candidates.dense is None
        assert found.dense_method == ""

    @pytest.mark.parametrize("count", [1, 5, 20, ALL])
    async def test_candidates_are_the_union_and_each_leg_scores_all_of_them(
        self, library: Library, documents: list[CorpusDocument], count: int
    ) -> None:
        """Rank 0 where the leg did not return it; BM25 is 0 without any term."""
        await library.put(documents)
        reference = ReferenceSearch(documents)
        cosines, bm25 = reference.cosines(QUERY), reference.bm25_scores(TERMS)
        both, alone_dense, alone_lexical = await search(
            library,
            probe(count=count),
            probe(terms=None, count=count),
            probe(vector=None, count=count),
        )
        dense, lexical = await ranking(both, Leg.DENSE), await ranking(both, Leg.LEXICAL)
        assert dense == await ranking(alone_dense, Leg.DENSE)
        assert lexical == await ranking(alone_lexical, Leg.LEXICAL)
        assert set(await keys_of(both)) == {*dense, *lexical}
        assert len(both.candidates) == len({*dense, *lexical})
        for key, score in (await scores(both, Leg.DENSE)).items():
            assert score == pytest.approx(cosines[key], abs=DENSE_TOLERANCE)
        for key, score in (await scores(both, Leg.LEXICAL)).items():
            assert score == pytest.approx(bm25[key], rel=LEXICAL_TOLERANCE)

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_passes_the_same_in_both_legs_as_the_reference(
        self, library: Library, documents: list[CorpusDocument], name: str
    ) -> None:
        """Applied before counting: a filter that passes few still fills the candidates."""
        await library.put(documents)
        reference = ReferenceSearch(documents)
        passing = reference.passing(FILTERS[name])
        holding = {key for key, score in reference.bm25_scores(TERMS).items() if score > 0}
        everything, few = await search(
            library, probe(filter=FILTERS[name]), probe(filter=FILTERS[name], count=3)
        )
        assert set(await ranking(everything, Leg.DENSE)) == passing
        assert set(await ranking(everything, Leg.LEXICAL)) == passing & holding
        cosines = reference.cosines(QUERY)
        assert await ranking(few, Leg.DENSE) == ranked(cosines, passing, 3)
        assert len(await ranking(few, Leg.LEXICAL)) == min(3, len(passing & holding))
        assert everything.passing_count in {None, len(passing)}
        assert everything.chunk_count in {None, len(cosines)}

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_sees_what_a_record_has_of_its_own_before_its_documents(
        self, library: Library, documents: list[CorpusDocument], name: str
    ) -> None:
        """A field that the record lacks is that of its document; other passages are not touched."""
        records = with_records(documents)
        await library.put(records)
        passing = ReferenceSearch(records).passing(FILTERS[name])
        (found,) = await search(library, probe(filter=FILTERS[name]))
        assert set(await ranking(found, Leg.DENSE)) == passing
        own = {
            (record.id, ordinal): passage.metadata
            for record in records
            for ordinal, passage in enumerate(record.passages)
        }
        for chunk in await found.chunks(found.candidates.positions):
            assert chunk.metadata == own[chunk.document_id, chunk.ordinal]

    async def test_filter_does_not_change_scores(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """The statistics are those of the collection, not of what passes."""
        await library.put(documents)
        bm25 = ReferenceSearch(documents).bm25_scores(TERMS)
        (found,) = await search(library, probe(filter=FILTERS["document"]))
        assert len(found.candidates) > 0
        for key, score in (await scores(found, Leg.LEXICAL)).items():
            assert score == pytest.approx(bm25[key], rel=LEXICAL_TOLERANCE)

    @pytest.mark.parametrize("name", CONDITIONS)
    async def test_phrases_and_exclusions_hold_in_both_legs(
        self, library: Library, documents: list[CorpusDocument], name: str
    ) -> None:
        """Alone and together with a filter."""
        await library.put(documents)
        reference = ReferenceSearch(documents)
        lexical = CONDITIONS[name]
        holding = {key for key, score in reference.bm25_scores(TERMS).items() if score > 0}
        for condition in (None, FILTERS["boolean"]):
            passing = reference.passing(condition, lexical)
            (found,) = await search(library, probe(lexical=lexical, filter=condition))
            assert set(await ranking(found, Leg.DENSE)) == passing
            assert set(await ranking(found, Leg.LEXICAL)) == passing & holding

    async def test_conditions_without_terms_hold_in_the_dense_leg_alone(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """The lexical leg has nothing to look for."""
        await library.put(documents)
        lexical = LexicalQuery((), excluded=(("plaza",),))
        (found,) = await search(library, probe(lexical=lexical))
        passing = ReferenceSearch(documents).passing(None, lexical)
        assert set(await ranking(found, Leg.DENSE)) == passing
        assert found.candidates.lexical is None

    async def test_empty_collection_finds_nothing(self, library: Library) -> None:
        """Nothing was ever written; everything was deleted."""
        for _ in range(2):
            (found,) = await search(library, probe())
            assert len(found.candidates) == 0
            assert await found.chunks(found.candidates.positions) == []
            assert len(await found.vectors(found.candidates.positions)) == 0
            assert await found.neighbours(found.candidates.positions, 2) == []
            assert await found.inspect(["absent"]) == [None]
            documents = make_documents(2)
            await library.put(documents)
            for document in documents:
                await library.delete(document.id)

    async def test_ties_are_broken_the_same_each_time(self, library: Library) -> None:
        """Of many equal passages as many as were asked for, and of the better ones none is missing.

        Not so many that they fill the 32 links of a node of the graph: HNSW may then not reach the others.
        """
        same, better = unit_vectors(2)
        passages = (CorpusPassage(same, ("router",)),) * 4
        documents = [CorpusDocument(f"same{index}", passages) for index in range(6)]
        documents.append(CorpusDocument("better", (CorpusPassage(better, ("router", "router")),)))
        await library.put(documents)
        first, second = await search(library, probe(vector=better, count=5), probe(vector=better, count=5))
        for leg in Leg:
            returned = await ranking(first, leg)
            assert len(returned) == 5  # noqa: PLR2004
            assert returned[0] == ("better", 0)
            assert returned == await ranking(second, leg)

    async def test_probes_of_one_call_are_answered_each_as_if_alone(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """Whatever else is asked; from the same revision."""
        await library.put(documents)
        vectors = unit_vectors(3, seed=11)
        probes = [
            probe(vector=vectors[0], count=4),
            probe(vector=vectors[1], terms=None, count=9),
            probe(vector=None, terms=("lamp",), count=2),
            probe(vector=vectors[2], filter=FILTERS["nested"], count=6),
            probe(vector=vectors[2], lexical=CONDITIONS["both"], count=6),
            probe(vector=vectors[0], count=4),
        ]
        together = await search(library, *probes)
        assert {found.revision for found in together} == {library.collection.revision}
        assert not any(found.is_stale for found in together)
        for asked, found in zip(probes, together, strict=True):
            (alone,) = await search(library, asked)
            legs = [
                leg
                for leg in Leg
                if (found.candidates.dense if leg is Leg.DENSE else found.candidates.lexical)
            ]
            for leg in legs:
                assert await ranking(found, leg) == await ranking(alone, leg)
                assert await scores(found, leg) == pytest.approx(await scores(alone, leg), abs=1e-6)
        assert await search(library) == []

    async def test_deleted_and_replaced_passages_are_not_found(
        self, library: Library, documents: list[CorpusDocument]
    ) -> None:
        """A replaced document is found in its new revision only; its new metadata counts."""
        await library.put(documents)
        (before,) = await search(library, probe())
        old = {key[0] for key in await keys_of(before)}
        assert old == {document.id for document in documents}
        passages = [CorpusPassage(vector, ("router", "cable")) for vector in unit_vectors(7, seed=13)]
        new = [
            CorpusDocument("doc01", tuple(passages[:2]), {"kind": "guide"}),
            CorpusDocument("doc02", tuple(passages[2:]), {"kind": "faq"}),
        ]
        await library.put(new)
        await library.delete("doc03")
        left = [each for each in documents if each.id not in {"doc01", "doc02", "doc03"}]
        reference = ReferenceSearch([*left, *new])
        everything, guides = await search(library, probe(), probe(filter=FILTERS["equal"]))
        cosines = reference.cosines(QUERY)
        assert await ranking(everything, Leg.DENSE) == ranked(cosines, cosines, ALL)
        holding = {key for key, score in reference.bm25_scores(TERMS).items() if score > 0}
        assert set(await ranking(everything, Leg.LEXICAL)) == holding
        assert set(await ranking(guides, Leg.DENSE)) == reference.passing(FILTERS["equal"])
        chunks = await everything.chunks(everything.candidates.positions)
        assert {c.document_revision for c in chunks if c.document_id in {"doc01", "doc02"}} == {2}
        assert everything.revision == library.collection.revision > before.revision
