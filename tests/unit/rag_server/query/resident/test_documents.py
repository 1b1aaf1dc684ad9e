from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from rag_server.domain.document import DocumentHead
from rag_server.domain.filter import Comparison, Filter, Membership, Operator
from rag_server.query.resident.documents import Documents, concatenate_documents
from rag_server.query.resident.filter_mask import matching

HEADS = [
    DocumentHead("a", 3, "A “title”", "https://example.org/ñ", "text/plain", {"price": 1, "open": True}, 2),
    DocumentHead("b", 1, "", "", "text/html", {"price": 1.0, "tags": ("x", "ñ"), "big": 2**60 + 1}, 0),
    DocumentHead("c", 2**40, "C", "", "text/html", {"at": datetime(2026, 1, 1, tzinfo=UTC), "price": 2}, 1),
]
FILTERS: list[tuple[Filter, list[bool]]] = [
    (Comparison("metadata.price", Operator.EQUAL, 1), [True, True, False]),
    (Comparison("metadata.open", Operator.EQUAL, True), [True, False, False]),
    (Comparison("metadata.big", Operator.EQUAL, 2**60 + 1), [False, True, False]),
    (Comparison("metadata.at", Operator.LESS, datetime(2026, 1, 2, tzinfo=UTC)), [False, False, True]),
    (Membership("metadata.tags", ("ñ",)), [False, True, False]),
    (Membership("document_id", ("a", "c")), [True, False, True]),
]


def check(documents: Documents, order: list[int]) -> None:
    assert len(documents) == len(order)
    for row, index in enumerate(order):
        head, (source,) = HEADS[index], documents.sources(np.array([row]), "acme", "books")
        assert (source.tenant_id, source.collection_id) == ("acme", "books")
        assert (source.document_id, source.document_revision) == (head.id, head.revision)
        assert (source.title, source.source_uri) == (head.title, head.source_uri)
        assert source.media_type == head.media_type
    for asked, expected in FILTERS:
        assert matching(documents.columns, asked).tolist() == [expected[index] for index in order]


def test_documents_hold_what_heads_say() -> None:
    check(Documents.of(HEADS), [0, 1, 2])


def test_documents_from_their_arrays_are_the_same() -> None:
    documents = Documents.of(HEADS)
    arrays = documents.arrays()
    check(Documents.from_arrays(arrays), [0, 1, 2])
    assert documents.nbytes == sum(array.nbytes for array in arrays.values())


def test_documents_concatenated_are_the_chosen_ones_with_their_types() -> None:
    one, other = Documents.of(HEADS[:2]), Documents.of(HEADS[2:])
    check(concatenate_documents([(other, np.array([0])), (one, np.array([1, 0]))]), [2, 1, 0])
    check(concatenate_documents([(one, np.zeros(0, np.int64)), (other, np.array([0]))]), [2])


def test_documents_none_at_all_are_a_table_without_rows() -> None:
    nothing = Documents.of([])
    check(nothing, [])
    check(Documents.from_arrays(nothing.arrays()), [])
    check(concatenate_documents([(nothing, np.zeros(0, np.int64))]), [])
