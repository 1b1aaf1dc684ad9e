"""What the suites of retrievers ask, and of whom: a library, probes, and readings of what is found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol

import numpy as np

from rag_server.domain.candidates import LegColumns
from rag_server.domain.collection import Collection
from rag_server.domain.filter import Bool, Comparison, Exists, Filter, Membership, Operator, Prefix, Range
from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Leg
from rag_server.query.retriever import Found, Probe, Retriever
from rag_server.testing.retrieval_corpus import (
    CorpusDocument,
    Key,
    Vector,
    unit_vectors,
)

LEXICAL_TOLERANCE = 0.05
"""Relative. Engines that keep the length of a passage in one byte round it by a few percent."""
DENSE_TOLERANCE = 1e-5
"""Absolute: of single precision."""
ALL = 1_000
"""Candidates per leg: more than there are passages."""
QUERY = unit_vectors(1, seed=7)[0]
TERMS = ("router", "plaza", "dte-33")

FILTERS: dict[str, Filter] = {
    "equal": Comparison("metadata.kind", Operator.EQUAL, "guide"),
    "not equal, missing in most": Comparison("metadata.rare", Operator.NOT_EQUAL, "no"),
    "integer range": Range("metadata.year", greater_or_equal=2003, less_than=2008),
    "double": Comparison("metadata.weight", Operator.GREATER, 1.25),
    "integer asked of a double": Comparison("metadata.weight", Operator.EQUAL, 1),
    "boolean": Comparison("metadata.open", Operator.EQUAL, True),
    "timestamp": Comparison("metadata.published", Operator.LESS, datetime(2026, 1, 5, tzinfo=UTC)),
    "member": Membership("metadata.kind", ("note", "faq")),
    "member of a list": Membership("metadata.tags", ("tag1", "tag3")),
    "exists": Exists("metadata.rare"),
    "prefix": Prefix("metadata.kind", "gu"),
    "document": Membership("document_id", ("doc03", "doc07", "absent")),
    "media type": Comparison("media_type", Operator.EQUAL, "text/markdown"),
    "source": Prefix("source_uri", "https://example.org/doc1"),
    "nested": Bool(
        must=(Comparison("metadata.open", Operator.EQUAL, True),),
        should=(Exists("metadata.rare"), Range("metadata.year", greater_than=2006)),
        must_not=(Comparison("metadata.kind", Operator.EQUAL, "faq"),),
    ),
    "not, missing in most": Bool(must_not=(Comparison("metadata.rare", Operator.EQUAL, "yes"),)),
    "nothing": Comparison("metadata.kind", Operator.EQUAL, "absent"),
}
CONDITIONS = {
    "phrase of one": LexicalQuery(TERMS, phrases=(("router",),)),
    "phrase": LexicalQuery(TERMS, phrases=(("router", "cable"),)),
    "two phrases": LexicalQuery(TERMS, phrases=(("plaza",), ("c++",))),
    "excluded": LexicalQuery(TERMS, excluded=(("plaza",),)),
    "excluded phrase": LexicalQuery(TERMS, excluded=(("router", "cable"), ("3.14",))),
    "both": LexicalQuery(TERMS, phrases=(("dte-33",),), excluded=(("año",),)),
    "phrase of an unknown lexeme": LexicalQuery(TERMS, phrases=(("unknown",),)),
    "excluded unknown lexeme": LexicalQuery(TERMS, excluded=(("unknown", "router"),)),
}


class Library(Protocol):
    """One collection of `retrieval_corpus.DIMENSION` dimensions, and an engine to search it with."""

    @property
    def collection(self) -> Collection:
        """As it is now."""
        ...

    async def put(self, documents: Sequence[CorpusDocument]) -> None:
        """Make a new revision of each document visible; the old one of a document is not seen any more."""
        ...

    async def delete(self, document_id: str) -> None:
        """Make a document invisible."""
        ...

    async def retriever(self) -> Retriever:
        """Return who searches the collection as it is now."""
        ...


def probe(
    *,
    vector: Vector | None = QUERY,
    lexical: LexicalQuery | None = None,
    terms: Sequence[str] | None = TERMS,
    filter: Filter | None = None,
    count: int = ALL,
) -> Probe:
    """Return a probe of both legs that asks for everything, but for what is said otherwise."""
    if lexical is None and terms is not None:
        lexical = LexicalQuery(tuple(terms))
    return Probe(vector, lexical, filter, count)


async def search(library: Library, *probes: Probe) -> list[Found]:
    """Return what the library's engine finds."""
    return await (await library.retriever()).search(probes)


async def keys_of(found: Found) -> list[Key]:
    """Return the candidates, in the order of `Candidates`."""
    chunks = await found.chunks(found.candidates.positions)
    return [(chunk.document_id, chunk.ordinal) for chunk in chunks]


def columns_of(found: Found, leg: Leg) -> LegColumns:
    """Return a leg's columns, which must be there."""
    columns = found.candidates.dense if leg is Leg.DENSE else found.candidates.lexical
    assert columns is not None
    return columns


async def ranking(found: Found, leg: Leg) -> list[Key]:
    """Return what a leg returned, best first; its ranks are 1, 2, 3... and its scores fall with them."""
    columns = columns_of(found, leg)
    keys = await keys_of(found)
    order = [index for index in np.argsort(columns.ranks, kind="stable") if columns.ranks[index] > 0]
    assert columns.ranks[order].tolist() == list(range(1, len(order) + 1))
    assert (np.diff(columns.scores[order]) <= DENSE_TOLERANCE).all()
    return [keys[index] for index in order]


async def scores(found: Found, leg: Leg) -> dict[Key, float]:
    """Return a leg's scores of all candidates; none is NaN, none comes twice."""
    columns = columns_of(found, leg)
    keys = await keys_of(found)
    assert len(set(keys)) == len(keys)
    assert np.isfinite(columns.scores).all()
    return dict(zip(keys, columns.scores.tolist(), strict=True))


def assert_ranked_like(actual: Sequence[Key], expected: dict[Key, float], tolerance: float) -> None:
    """Fail when a passage stands above one whose expected score is higher by more than `tolerance`."""
    for better, worse in pairwise(actual):
        assert expected[better] >= expected[worse] * (1 - tolerance)
