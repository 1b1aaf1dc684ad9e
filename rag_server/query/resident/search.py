"""Searching one state of a collection: both legs, and each leg's score of what the other one found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rag_server.backends.protocols import Embeddings
from rag_server.domain.candidates import Candidates, LegColumns, Positions, Ranks, Scores
from rag_server.domain.lexical import Bm25, LexicalQuery
from rag_server.domain.retrieval import Leg
from rag_server.query.resident import bm25, dense
from rag_server.query.resident.masks import MaskCache, Masks
from rag_server.query.resident.state import State
from rag_server.query.retriever import Probe

_NONE = np.zeros(0, np.int64)
_UNKNOWN: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What one probe found in a state."""

    candidates: Candidates
    masks: Masks
    """The rows that passed the filter, the phrases and the exclusions."""
    query_terms: tuple[int, ...]
    """Ids of the lexemes that the collection knows."""
    document_frequencies: Sequence[int]
    """Of the query's lexemes."""

    @property
    def passing_count(self) -> int:
        """How many rows passed."""
        return sum(count for _, count in self.masks)


def search(state: State, probes: Sequence[Probe], parameters: Bm25, cache: MaskCache) -> list[Hits]:
    """Answer `probes` in order. Blocks, for about a millisecond.

    Probes with the same conditions share their masks, and one matrix product in the dense leg.
    """
    masked = _masks_by_probe(state, probes, cache)
    dense_hits = _search_dense(state, probes, masked)
    return [
        _answer(state, probe, parameters, masks, found)
        for probe, masks, found in zip(probes, masked, dense_hits, strict=True)
    ]


Found = tuple[Positions, Scores]


def _masks_by_probe(state: State, probes: Sequence[Probe], cache: MaskCache) -> list[Masks]:
    """Return each probe's masks; the same object for the same conditions."""
    known: dict[object, Masks] = {}
    masked = []
    for probe in probes:
        lexical = probe.lexical or LexicalQuery()
        key = (repr(probe.filter), lexical.phrases, lexical.excluded)
        if key not in known:
            known[key] = cache.masks_of(state, probe.filter, probe.lexical)
        masked.append(known[key])
    return masked


def _search_dense(state: State, probes: Sequence[Probe], masked: Sequence[Masks]) -> list[Found | None]:
    """Return the dense leg's hits of each probe that has a vector."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, probe in enumerate(probes):
        if probe.vector is not None:
            groups.setdefault((probe.count, id(masked[index])), []).append(index)
    found: list[Found | None] = [None] * len(probes)
    for indices in groups.values():
        parts = _dense_parts(state, masked[indices[0]])
        vectors = np.stack([vector for index in indices if (vector := probes[index].vector) is not None])
        answers = dense.search(parts, vectors, probes[indices[0]].count)
        for index, (positions, scores) in zip(indices, answers, strict=True):
            found[index] = positions, scores.astype(np.float64)
    return found


def _dense_parts(state: State, masks: Masks) -> list[dense.DenseSegment]:
    return [part.dense(mask, count) for part, (mask, count) in zip(state.parts, masks, strict=True) if count]


def _lexical_parts(state: State, masks: Masks) -> list[bm25.LexicalSegment]:
    return [
        bm25.LexicalSegment(part.base, part.segment.postings, mask)
        for part, (mask, count) in zip(state.parts, masks, strict=True)
        if count
    ]


def _answer(state: State, probe: Probe, parameters: Bm25, masks: Masks, by_vector: Found | None) -> Hits:
    terms: tuple[int, ...] = ()
    by_terms: Found | None = None
    if probe.lexical is not None and probe.lexical.terms:
        ids = [state.vocabulary.lookup(term) for term in probe.lexical.terms]
        terms = tuple(each for each in ids if each is not None)
        scorer = bm25.Scorer(_lexical_parts(state, masks), state.statistics, terms, parameters)
        by_terms = scorer.search(probe.count)
    union = np.unique(np.concatenate([found[0] for found in (by_vector, by_terms) if found] or [_NONE]))
    dense_columns = lexical_columns = None
    if by_vector is not None and probe.vector is not None:
        scores, ranks, missing = _spread(union, by_vector)
        if len(missing):
            parts = _dense_parts(state, masks)
            scores[missing] = dense.scores_of(parts, union[missing], probe.vector)
        dense_columns = LegColumns(scores, ranks)
    if by_terms is not None:
        scores, ranks, missing = _spread(union, by_terms)
        if len(missing):
            scores[missing] = scorer.scores_of(union[missing])
        lexical_columns = LegColumns(scores, ranks)
    return Hits(
        Candidates(union, dense_columns, lexical_columns),
        masks,
        terms,
        _document_frequencies(state, probe.lexical),
    )


def _document_frequencies(state: State, lexical: LexicalQuery | None) -> list[int]:
    if lexical is None:
        return []
    ids = [state.vocabulary.lookup(term) for term in lexical.terms]
    # a term that no passage ever held gets an id that no statistics know
    numbers = np.array([_UNKNOWN if each is None else each for each in ids], np.int32)
    return [int(each) for each in state.statistics.frequencies_of(numbers)]


def _spread(union: Positions, found: Found) -> tuple[Scores, Ranks, Positions]:
    """Return a leg's scores and ranks over the union, and where in it the leg has none."""
    positions, values = found
    places = np.searchsorted(union, positions)
    scores = np.zeros(len(union))
    scores[places] = values
    ranks = np.zeros(len(union), np.int32)
    ranks[places] = np.arange(1, len(positions) + 1)
    return scores, ranks, np.flatnonzero(ranks == 0)


def scores_at(state: State, hits: Hits, probe: Probe, parameters: Bm25, position: int) -> dict[Leg, float]:
    """Return what each leg that ran gives one passage, whatever the filter says of it."""
    at = np.array([position], np.int64)
    scores: dict[Leg, float] = {}
    if hits.candidates.dense is not None and probe.vector is not None:
        parts = [part.dense(part.alive, part.alive_count) for part in state.parts]
        scores[Leg.DENSE] = float(dense.scores_of(parts, at, probe.vector)[0])
    if hits.candidates.lexical is not None:
        segments = [bm25.LexicalSegment(part.base, part.segment.postings, None) for part in state.parts]
        scorer = bm25.Scorer(segments, state.statistics, hits.query_terms, parameters)
        scores[Leg.LEXICAL] = float(scorer.scores_of(at)[0])
    return scores


def dense_method(state: State, hits: Hits) -> str:
    """Return how the vectors were searched; empty: they were not."""
    if hits.candidates.dense is None:
        return ""
    return dense.method(_dense_parts(state, hits.masks))


def vectors_at(state: State, positions: Positions) -> Embeddings:
    """Return the vectors at `positions`, in order, `(len(positions), d)`."""
    parts = [part.dense(part.alive, part.alive_count) for part in state.parts]
    return dense.vectors_of(parts, positions)
