from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.query.diversify.grouping import by_document


def test_grouping_puts_documents_where_their_best_passage_stands() -> None:
    documents = np.array(["b", "a", "b", "c", "a", "b", "c"])
    grouped = by_document(documents, chunks_per_document=2, document_count=2)
    assert grouped.kept.tolist() == [0, 2, 1, 4]  # b, b, a, a
    assert grouped.grouped_out.tolist() == [5]  # the third of b
    assert grouped.below.tolist() == [3, 6]  # c


def test_grouping_of_nothing_is_nothing() -> None:
    grouped = by_document(np.array([], np.int64), chunks_per_document=3, document_count=10)
    assert len(grouped.kept) == len(grouped.grouped_out) == len(grouped.below) == 0


@settings(deadline=None)
@given(st.lists(st.integers(-3, 5), max_size=30), st.integers(1, 4), st.integers(1, 5))
def test_grouping_is_what_a_plain_loop_gives(keys: list[int], per_document: int, count: int) -> None:
    places: dict[int, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    groups = list(places.values())  # by the first place of each
    grouped = by_document(np.array(keys, np.int64), chunks_per_document=per_document, document_count=count)
    assert grouped.kept.tolist() == [place for group in groups[:count] for place in group[:per_document]]
    assert grouped.grouped_out.tolist() == sorted(place for group in groups for place in group[per_document:])
    assert grouped.below.tolist() == sorted(
        place for group in groups[count:] for place in group[:per_document]
    )
