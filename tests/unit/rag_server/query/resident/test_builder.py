from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.domain.document import Chunk
from rag_server.domain.stored import StoredChunks
from rag_server.query.resident.builder import SegmentBuilder
from rag_server.query.resident.segment import Segment
from rag_server.query.resident.vocabulary import Vocabulary
from rag_server.testing.chunks import make_collection
from rag_server.testing.retrieval_corpus import DIMENSION, CorpusDocument
from tests.unit.rag_server.query.resident.resident_library import document, head_of, stored

COLLECTION = make_collection()
DOCUMENTS = [document("b", passages=4), document("a", passages=1), document("c", passages=3)]


def rows_of(segment: Segment, vocabulary: Vocabulary) -> list[tuple[Chunk, list[float], list[str]]]:
    """Return chunk, vector and lexemes of every row."""
    terms = vocabulary.terms()
    postings, rows = segment.postings, []
    for row in range(len(segment)):
        at = np.array([row])
        sources = segment.documents.sources(segment.row_documents[at], COLLECTION.tenant_id, COLLECTION.id)
        start, end = postings.sequence_offsets[row : row + 2]
        lexemes = [terms[each] for each in postings.sequence_terms[start:end]]
        (chunk,) = segment.passages.chunks(at, sources)
        rows.append((chunk, segment.vectors[row].tolist(), lexemes))
    return rows


def expected_rows(*documents: CorpusDocument) -> list[tuple[Chunk, list[float], list[str]]]:
    rows = []
    for each in sorted(documents, key=lambda document: document.id):
        own = stored(COLLECTION, each, 2)
        rows += list(zip(own.chunks, own.vectors.tolist(), own.lexemes, strict=True))
    return rows


def split(whole: StoredChunks, places: list[int]) -> StoredChunks:
    return StoredChunks(
        [whole.chunks[each] for each in places],
        whole.vectors[places],
        [whole.lexemes[each] for each in places],
    )


def everything() -> StoredChunks:
    """Return the wanted revisions, older and newer ones, and a document that nobody sees."""
    parts = [stored(COLLECTION, each, revision) for each in DOCUMENTS for revision in (1, 2, 3)]
    parts.append(stored(COLLECTION, document("unseen"), 2))
    return StoredChunks(
        [chunk for part in parts for chunk in part.chunks],
        np.concatenate([part.vectors for part in parts]),
        [lexemes for part in parts for lexemes in part.lexemes],
    )


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_builder_keeps_the_wanted_passages_whatever_the_order_and_batches(data: st.DataObject) -> None:
    whole = everything()
    order = data.draw(st.permutations(range(len(whole))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=4)) | {0, len(whole)})
    vocabulary = Vocabulary()
    builder = SegmentBuilder([head_of(each, 2) for each in DOCUMENTS], DIMENSION, vocabulary)
    for start, end in pairwise(cuts):
        builder.add(split(whole, order[start:end]))
    assert builder.missing_count == 0
    segment = builder.build()
    assert rows_of(segment, vocabulary) == expected_rows(*DOCUMENTS)
    assert segment.row_documents.tolist() == [0, 1, 1, 1, 1, 2, 2, 2]
    assert segment.vectors.flags.c_contiguous


def test_builder_takes_a_passage_that_comes_twice_once() -> None:
    vocabulary = Vocabulary()
    builder = SegmentBuilder([head_of(DOCUMENTS[0], 2)], DIMENSION, vocabulary)
    own = stored(COLLECTION, DOCUMENTS[0], 2)
    builder.add(split(own, [3, 3, 0]))
    builder.add(split(own, [0, 1, 2, 3]))
    assert builder.missing_count == 0
    assert rows_of(builder.build(), vocabulary) == expected_rows(DOCUMENTS[0])


@pytest.mark.parametrize("left_out", [[0], [4], [0, 1, 2, 3], range(8)], ids=str)
def test_builder_leaves_out_what_never_came(left_out: list[int]) -> None:
    """A document without any passage is not there at all."""
    vocabulary = Vocabulary()
    builder = SegmentBuilder([head_of(each, 2) for each in DOCUMENTS], DIMENSION, vocabulary)
    own = [stored(COLLECTION, each, 2) for each in DOCUMENTS]
    whole = StoredChunks(
        [chunk for part in own for chunk in part.chunks],
        np.concatenate([part.vectors for part in own]),
        [lexemes for part in own for lexemes in part.lexemes],
    )
    places = [place for place in range(8) if place not in left_out]
    builder.add(split(whole, places))
    assert builder.missing_count == len(left_out)
    segment = builder.build()
    kept = {whole.chunks[place].id for place in places}
    assert rows_of(segment, vocabulary) == [row for row in expected_rows(*DOCUMENTS) if row[0].id in kept]
    assert len(segment.documents) == len({row[0].document_id for row in rows_of(segment, vocabulary)})


def test_builder_of_documents_without_passages_makes_an_empty_segment() -> None:
    vocabulary = Vocabulary()
    for heads in ([], [head_of(document("a", passages=0), 1)]):
        builder = SegmentBuilder(heads, DIMENSION, vocabulary)
        assert builder.missing_count == 0
        segment = builder.build()
        assert (len(segment), len(segment.documents)) == (0, 0)
