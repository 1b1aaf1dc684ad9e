"""Grouping by document: a document stands where its best passage stands, with its next ones behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
"""Places of candidates in the ranking that was given, from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Every candidate is in one of the three."""

    kept: Places
    """The results: documents by their best passage, inside a document by rank."""
    grouped_out: Places
    """Passages whose document has enough better ones; by rank."""
    below: Places
    """Passages of documents below those wanted; by rank."""


def by_document(documents: npt.NDArray[Any], *, chunks_per_document: int, document_count: int) -> Grouped:
    """Keep the first `chunks_per_document` passages of the first `document_count` documents.

    O(m log m) for m candidates.

    Args:
        documents: Shape `(m,)`, in the order of the ranking: the key of each candidate's document, of any
            type that numpy sorts, different for documents of different collections.
        chunks_per_document: At least 1.
        document_count: At least 1.
    """
    _, first_places, codes = np.unique(documents, return_index=True, return_inverse=True)
    document_ranks = np.empty(len(first_places), np.int64)
    document_ranks[np.argsort(first_places)] = np.arange(len(first_places))
    ranks = document_ranks[codes]
    order = np.argsort(ranks, kind="stable")
    group_starts = np.searchsorted(ranks[order], np.arange(len(first_places)))
    ranks_within = np.empty(len(ranks), np.int64)
    ranks_within[order] = np.arange(len(ranks)) - group_starts[ranks[order]]
    has_better = ranks_within >= chunks_per_document
    is_below = ranks >= document_count
    is_kept = ~(has_better | is_below)
    return Grouped(order[is_kept[order]], np.flatnonzero(has_better), np.flatnonzero(is_below & ~has_better))
