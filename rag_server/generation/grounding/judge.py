"""Judges the sentences of a text by passages: read, find the nearest, embed, weigh, cap.

A sentence that stands in a passage is a quote and needs no more. For any other the evidence gives a
probability; a number or a name that the supports' passages do not have caps it below support. With an
entailment model, that one reads sentence and supports together and its probability takes the place of ours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import numpy as np

from rag_server.backends.protocols import Embedder, Embeddings
from rag_server.domain.document import Span
from rag_server.domain.grounding import Grounding, Passage, SentenceGrounding, Support
from rag_server.domain.priority import Priority
from rag_server.generation.grounding.calibration import (
    MISSING_FACT_SCORE,
    QUOTE_SCORE,
    SPOKEN,
    UNSPOKEN,
    Weights,
)
from rag_server.generation.grounding.evidence import Claim, Evidence, evidence_for, joined
from rag_server.generation.grounding.facts import Claimed, facts_in, names_in
from rag_server.generation.grounding.library import Library, Line
from rag_server.generation.markers import MARKER, numbers_of
from rag_server.text.analyzer import MULTILINGUAL, Analyzer
from rag_server.text.language import detect_language
from rag_server.text.sentences import split_sentences

_QUESTION_END: Final = re.compile(r"[?؟？][\"'”’»)\]]*$")
_JOINT: Final = re.compile(r"(?:,|;)? (?:and|but|while|whereas|y|e|pero|mientras que) |; ")
_MIN_PART: Final = 3
"""Lexemes of a part that may be supported by itself."""
_MAX_PARTS: Final = 4
"""Of a sentence; one of more is a list rather than a statement, and is judged as a whole."""
_BATCH: Final = 64
"""Texts that are embedded at once, so that a long answer lets others in between."""
_LANGUAGE_SAMPLE: Final = 4000
"""Code points of the passages by which their language is told."""


class Entailment(Protocol):
    """A model that reads two texts together."""

    @property
    def name(self) -> str: ...

    async def entails(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the probability, 0 to 1, that the first text of each pair says what the second one does.

        Raises `Unavailable` when the model cannot run.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Quote:
    """A sentence that stands in a passage."""

    span: Span
    support: Support


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read, without the embedder."""

    library: Library
    sentences: list[Claim | _Quote | Span]
    """In order; a span alone states nothing."""
    nearest: dict[str, list[Line]]
    """By the text of each claim, and of each part of one."""

    @property
    def claims(self) -> list[Claim]:
        return [each for each in self.sentences if isinstance(each, Claim)]


class Judge:
    """Judges texts.

    Example:
        judge = Judge(embedder)
        grounding = await judge.judge("It opened in 1889.", [Passage(0, "The tower was opened in 1889.")])
    """

    def __init__(
        self,
        embedder: Embedder,
        analyzer_for: Callable[[str], Analyzer] = Analyzer.for_language,
        entailment: Entailment | None = None,
    ) -> None:
        self._embedder = embedder
        self._analyzer_for = analyzer_for
        self._entailment = entailment

    async def judge(
        self,
        text: str,
        passages: Sequence[Passage],
        language: str = "",
        *,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Grounding:
        """Return what `passages` say of each sentence of `text`.

        `language` is a BCP 47 code; empty: that of the text. Raises what the embedder and the entailment
        model raise.
        """
        language = language or await asyncio.to_thread(detect_language, text)
        reading = await asyncio.to_thread(self._read, text, passages, language)
        weighed = await self._weigh(reading, priority)
        scores = await self._scores(reading, weighed, language)
        judged = iter(zip(reading.claims, weighed, scores, strict=True))
        sentences = []
        for each in reading.sentences:
            if isinstance(each, _Quote):
                sentences.append(SentenceGrounding(each.span, QUOTE_SCORE, (each.support,)))
            elif isinstance(each, Span):
                sentences.append(SentenceGrounding(each, None))
            else:
                _, evidence, score = next(judged)
                sentences.append(_verdict(each, evidence, score))
        model = self._entailment.name if self._entailment is not None else ""
        return Grounding(tuple(sentences), tuple(passages), model)

    async def evidence(self, text: str, passages: Sequence[Passage], language: str) -> list[Evidence]:
        """Return the evidence of those sentences of `text` that are judged by it: no quotes."""
        reading = await asyncio.to_thread(self._read, text, passages, language)
        weighed = await self._weigh(reading, Priority.BULK)
        return [each for each in weighed if each is not None]

    def _read(self, text: str, passages: Sequence[Passage], language: str) -> _Reading:
        analyze = self._analyzer_for(language or MULTILINGUAL).analyze
        library = Library(passages, analyze)
        bare = MARKER.sub(_blank, text)
        with_names = _names_count(language, passages)
        names = library.names | names_in(bare, analyze)
        sentences: list[Claim | _Quote | Span] = []
        for span in split_sentences(text):
            sentence = bare[span.start : span.end].strip()
            lexemes = frozenset(analyze(sentence))
            if not lexemes or sentence.startswith("#") or _QUESTION_END.search(sentence):
                sentences.append(span)
            elif (place := library.quoted(sentence, lexemes)) is not None:
                sentences.append(_Quote(span, Support(place[0], place[1], 1.0)))
            else:
                facts = facts_in(bare, span, analyze, names, with_names=with_names)
                parts = _parts(bare, span, facts, analyze)
                sentences.append(Claim(span, sentence, lexemes, tuple(facts), parts))
        nearest = {
            each.text: library.nearest(each.lexemes)
            for claim in sentences
            if isinstance(claim, Claim)
            for each in (claim, *claim.parts)
        }
        return _Reading(library, sentences, nearest)

    async def _weigh(self, reading: _Reading, priority: Priority) -> list[Evidence | None]:
        """Return the evidence for each claim; None where the passages have no sentence at all."""
        claims = reading.claims
        if not reading.library.lines:
            return [None] * len(claims)
        texts = dict.fromkeys(reading.nearest)
        texts |= dict.fromkeys(line.text for lines in reading.nearest.values() for line in lines)
        rows = {text: row for row, text in enumerate(texts)}
        vectors = await self._embed(list(rows), priority)
        if vectors is None:
            return []

        def weigh_one(claim: Claim) -> Evidence:
            lines = reading.nearest[claim.text]
            cosines = vectors[[rows[line.text] for line in lines]] @ vectors[rows[claim.text]]
            return evidence_for(claim, reading.library, lines, cosines)

        def weigh() -> list[Evidence | None]:
            return [joined(weigh_one(each), [weigh_one(part) for part in each.parts]) for each in claims]

        return await asyncio.to_thread(weigh)

    async def _embed(self, texts: list[str], priority: Priority) -> Embeddings | None:
        parts = [
            await self._embedder.embed(texts[start : start + _BATCH], priority=priority)
            for start in range(0, len(texts), _BATCH)
        ]
        return np.concatenate(parts) if parts else None

    async def _scores(
        self, reading: _Reading, weighed: Sequence[Evidence | None], language: str
    ) -> list[float]:
        """Return the probability of each claim, before what caps it."""
        if self._entailment is None:
            primary = language.partition("-")[0].lower()
            is_spoken = not primary or primary in self._embedder.model.languages
            weights = SPOKEN if is_spoken else UNSPOKEN
            return [0.0 if each is None else _probability(each, weights) for each in weighed]
        pairs = [
            (" ".join(reading.library.window(line) for line in evidence.lines), claim.text)
            for claim, evidence in zip(reading.claims, weighed, strict=True)
            if evidence is not None
        ]
        probabilities = iter(await self._entailment.entails(pairs))
        return [0.0 if each is None else next(probabilities) for each in weighed]


def _blank(marker: re.Match[str]) -> str:
    """Return as many spaces as a marker has signs; what only looks like one stays."""
    return " " * len(marker.group()) if numbers_of(marker.group()) else marker.group()


def _probability(evidence: Evidence, weights: Weights) -> float:
    """Return the probability of a sentence: its own, or that of its weakest part where this is higher."""
    own = weights.probability(evidence.features)
    parts = [weights.probability(part.features) for part in evidence.parts]
    return max(own, min(parts)) if parts else own


def _parts(
    text: str, span: Span, facts: Sequence[Claimed], analyze: Callable[[str], list[str]]
) -> tuple[Claim, ...]:
    """Return the statements that a sentence joins; none if it is one, or a part says too little."""
    edges = [span.start, *(match.end() for match in _JOINT.finditer(text, span.start, span.end)), span.end]
    if not 1 < len(edges) - 1 <= _MAX_PARTS:
        return ()
    claims = []
    for start, end in pairwise(edges):
        place = Span(start, end)
        part = text[start:end].strip()
        own = tuple(each for each in facts if start <= each.fact.span.start < end)
        claims.append(Claim(place, part, frozenset(analyze(part)), own))
    return tuple(claims) if all(len(each.lexemes) >= _MIN_PART for each in claims) else ()


def _verdict(claim: Claim, evidence: Evidence | None, score: float) -> SentenceGrounding:
    if evidence is None:
        facts = tuple(each.fact for each in claim.facts)
        return SentenceGrounding(claim.span, 0.0, missing_facts=facts)
    if evidence.missing:
        score = min(score, MISSING_FACT_SCORE)
    missing = tuple(each.fact for each in evidence.missing)
    return SentenceGrounding(claim.span, score, evidence.supports, missing)


def _names_count(language: str, passages: Sequence[Passage]) -> bool:
    """Whether names can be compared: capitals tell them, and the passages do not call them otherwise."""
    if language.partition("-")[0].lower() not in {"en", "es"}:
        return False
    sample = " ".join(each.text[:_LANGUAGE_SAMPLE] for each in passages)[:_LANGUAGE_SAMPLE]
    return detect_language(sample) in {"", language.partition("-")[0].lower()}
