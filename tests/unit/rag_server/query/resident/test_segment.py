from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rag_server.query.resident import segment as segment_module
from rag_server.query.resident.segment import Segment, merge
from rag_server.query.resident.vocabulary import Vocabulary
from rag_server.testing.chunks import make_collection
from tests.unit.rag_server.query.resident.resident_library import document, large_segment, segment_of

COLLECTION = make_collection()


def make(vocabulary: Vocabulary, names: str) -> Segment:
    return segment_of(COLLECTION, {name: (document(name), 1) for name in names}, vocabulary)


def texts_of(segment: Segment) -> list[tuple[str, str]]:
    ids = segment.documents.ids.to_list()
    documents = [ids[each] for each in segment.row_documents]
    return list(zip(documents, segment.passages.texts.to_list(), strict=True))


def test_segment_rows_of_a_document_stand_together() -> None:
    segment = make(Vocabulary(), "abc")
    assert [segment.rows_of(each) for each in range(3)] == [(0, 3), (3, 6), (6, 9)]


def test_segment_from_its_arrays_is_the_same() -> None:
    segment = make(Vocabulary(), "ab")
    again = Segment.from_arrays(segment.arrays(), segment.vectors, None, None, id=segment.id)
    assert texts_of(again) == texts_of(segment)
    assert (again.id, again.nbytes, len(again)) == (segment.id, segment.nbytes, 6)
    assert again.postings.arrays().keys() == segment.postings.arrays().keys()


def test_merge_keeps_living_rows_and_their_documents_only() -> None:
    vocabulary = Vocabulary()
    one, other = make(vocabulary, "abc"), make(vocabulary, "de")
    alive = np.array([True] * 2 + [False] * 5 + [True] * 2)
    merged = merge([(one, alive), (other, None)])
    rows = texts_of(one)
    assert texts_of(merged) == [rows[0], rows[1], rows[7], rows[8], *texts_of(other)]
    assert merged.documents.ids.to_list() == ["a", "c", "d", "e"]
    assert merged.row_documents.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    np.testing.assert_array_equal(merged.vectors, np.concatenate([one.vectors[alive], other.vectors]))
    expected = np.concatenate([one.postings.lengths[alive], other.postings.lengths])
    assert merged.postings.lengths.tolist() == expected.tolist()
    assert len({merged.id, one.id, other.id}) == 3


def test_merge_of_dead_rows_only_is_empty() -> None:
    segment = make(Vocabulary(), "a")
    merged = merge([(segment, np.zeros(3, np.bool_))])
    assert (len(merged), len(merged.documents)) == (0, 0)


def test_segment_is_indexed_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes from one size on, from a larger one a graph, too, which then holds the vectors."""
    monkeypatch.setattr(segment_module, "CODES_THRESHOLD_ROWS", 200)
    monkeypatch.setattr(segment_module, "GRAPH_THRESHOLD_ROWS", 400)
    small, middle, large = (large_segment(COLLECTION, rows, Vocabulary()) for rows in (199, 300, 500))
    assert small.is_indexed
    assert not middle.is_indexed
    assert not large.is_indexed
    for segment in (small, middle, large):
        indexed = segment.indexed(lambda: False)
        assert indexed is not None
        assert indexed.is_indexed
        assert indexed.id == segment.id
        assert (indexed.codes is not None) == (segment is not small)
        assert (indexed.graph is not None) == (segment is large)
        np.testing.assert_array_equal(indexed.vectors, segment.vectors)
        assert indexed.indexed(lambda: True) is not None  # there is nothing to be stopped
    assert middle.indexed(lambda: True) is None


def test_segment_with_codes_that_lacks_a_graph_keeps_its_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "CODES_THRESHOLD_ROWS", 200)
    middle = large_segment(COLLECTION, 300, Vocabulary()).indexed(lambda: False)
    assert middle is not None
    monkeypatch.setattr(segment_module, "GRAPH_THRESHOLD_ROWS", 250)
    assert not middle.is_indexed
    indexed = middle.indexed(lambda: False)
    assert indexed is not None
    assert indexed.codes is middle.codes
    assert indexed.vectors is not middle.vectors
    assert indexed.nbytes > replace(indexed, graph=None, vectors=middle.vectors).nbytes
