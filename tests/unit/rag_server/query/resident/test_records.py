from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from rag_server.domain.filter import Bool, Comparison, Filter, Operator
from rag_server.query.resident.segment import Segment, merge
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.state import State
from rag_server.query.resident.vocabulary import Vocabulary
from rag_server.testing.chunks import make_collection
from rag_server.testing.retrieval_corpus import CorpusDocument, ReferenceSearch, make_documents, with_records
from tests.unit.rag_server.query.resident.resident_library import segment_of

COLLECTION = replace(make_collection(), revision=9)
RECORDS = with_records(make_documents(6))
CONDITION = Bool(
    must=(Comparison("metadata.year", Operator.LESS, 2006),),
    must_not=(Comparison("metadata.kind", Operator.EQUAL, "note"),),
)


def segment(documents: list[CorpusDocument], vocabulary: Vocabulary | None = None) -> Segment:
    own = {document.id: (document, 1) for document in documents}
    return segment_of(COLLECTION, own, vocabulary or Vocabulary())


def passing(found: Segment, filter: Filter = CONDITION) -> set[tuple[str, int]]:
    rows = np.flatnonzero(found.matching(filter))
    ids = found.documents.ids.at(found.row_documents[rows])
    return set(zip(ids, found.passages.ordinals[rows].tolist(), strict=True))


def test_segment_of_records_passes_what_the_reference_does() -> None:
    expected = ReferenceSearch(RECORDS).passing(CONDITION)
    assert 0 < len(expected) < 24
    assert passing(segment(RECORDS)) == expected


def test_segment_without_records_holds_no_columns_for_them() -> None:
    assert segment(make_documents(3)).records is None


def test_records_survive_a_merge_without_those_that_died() -> None:
    vocabulary = Vocabulary()
    first, second = segment(RECORDS[:4], vocabulary), segment(RECORDS[4:], vocabulary)
    alive = first.row_documents != 1
    merged = merge([(first, alive), (second, None)])
    assert passing(merged) == ReferenceSearch([RECORDS[0], *RECORDS[2:]]).passing(CONDITION)


def test_merge_that_leaves_no_record_drops_their_columns() -> None:
    vocabulary = Vocabulary()
    plain = CorpusDocument("plain", make_documents(1)[0].passages, {"year": 2001})
    first = segment([RECORDS[1]], vocabulary)
    merged = merge([(first, np.zeros(len(first), np.bool_)), (segment([plain], vocabulary), None)])
    assert merged.records is None
    assert len(passing(merged)) == 4


def test_records_survive_a_snapshot(tmp_path: Path) -> None:
    state = State.empty(9)
    state = state.with_segment(segment(RECORDS, state.vocabulary))
    folder = SnapshotFolder(tmp_path / "snapshots")
    folder.save(COLLECTION, state)
    opened = folder.open(COLLECTION)
    assert opened is not None
    (part,) = opened.parts
    assert passing(part.segment) == ReferenceSearch(RECORDS).passing(CONDITION)
    rows = np.arange(len(part.segment))
    sources = part.segment.documents.sources(part.segment.row_documents[rows], "acme", "manuals")
    chunks = part.segment.passages.chunks(rows, sources)
    assert [chunk.metadata for chunk in chunks] == [
        passage.metadata for record in RECORDS for passage in record.passages
    ]
