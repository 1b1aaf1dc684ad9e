"""What a follow-up question gains by words of the question before, and what another question loses by them.

    python -m benchmarks.follow_up SQUAD_JSON [--language en|es]

The questions of a file in the SQuAD format were written one by one, so nearly all make sense alone.

Gain: of two questions that follow each other on one paragraph, the second leaves out what the first has said:
the first content word that both have becomes `it` (`eso`), the others go.

Loss: questions that `FollowUpWords` would add words to as they stand are asked after one of another article,
as if the subject had changed.

A hit is a passage of the article that holds an answer.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from benchmarks.extractive import CachedEmbedder, HybridIndex, Question, load
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.generation.follow_up import FollowUpWords
from rag_server.text.analyzer import Analyzer

CUTS = (1, 3, 10)
PRONOUN = {"en": "it", "es": "eso"}


class Bench:
    """A searchable file of questions."""

    def __init__(
        self, index: HybridIndex, embedder: CachedEmbedder, article_of: dict[str, int], language: str
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._article_of = article_of
        self._language = language
        self.rewriter = FollowUpWords()

    async def report(self, name: str, asked: Sequence[tuple[Question, str]]) -> None:
        """Print the share of hits; each question comes with the text that is searched with."""
        hits = dict.fromkeys(CUTS, 0)
        vectors = await self._embedder.embed([text for _, text in asked])
        for (question, text), vector in zip(asked, vectors, strict=True):
            found = [each.chunk for each in self._index.retrieve(text, vector, without=None)]
            right = [
                self._article_of[chunk.id] == question.article
                and any(answer in chunk.text for answer in question.answers)
                for chunk in found
            ]
            for cut in CUTS:
                hits[cut] += any(right[:cut])
        shown = "  ".join(f"first {cut}: {hits[cut] / len(asked):4.0%}" for cut in CUTS)
        print(f"  {name:<42}{shown}")

    async def after(self, question: Question, before: Question) -> tuple[Question, str]:
        """Return the question with what it is searched with after another one."""
        history = [HistoryMessage(Role.USER, before.text)]
        return question, await self.rewriter.rewrite(question.text, history, self._language)


def elliptic(question: Question, before: Question, language: str) -> Question | None:
    """Return the question without what the one before has said; None: they have no word in common."""
    analyzer = Analyzer.for_language(language)
    said = set(analyzer.analyze(before.text))
    text, shift, is_replaced = question.text, 0, False
    for token in analyzer.explain(question.text):
        if token.lexeme is None or token.lexeme not in said:
            continue
        new = "" if is_replaced else PRONOUN[language]
        is_replaced = True
        start, end = token.span.start + shift, token.span.end + shift
        text = text[:start] + new + text[end:]
        shift += len(new) - (end - start)
    return replace(question, text=" ".join(text.split())) if is_replaced else None


async def measure(path: Path, language: str) -> None:
    """Print both tables."""
    chunks, articles, questions = load(path)
    embedder = CachedEmbedder(await OnnxEmbedder.create())
    try:
        vectors = await embedder.embed([chunk.text for chunk in chunks])
        index = HybridIndex(chunks, articles, vectors, Analyzer.for_language(language))
        article_of = {chunk.id: article for chunk, article in zip(chunks, articles, strict=True)}
        bench = Bench(index, embedder, article_of, language)

        triples = [
            (short, question, before)
            for before, question in pairwise(questions)
            if before.article == question.article and (short := elliptic(question, before, language))
        ]
        told = [bench.rewriter.says_too_little(short.text, language) for short, _, _ in triples]
        print(f"{len(triples)} follow-up questions, {sum(told)} of them told for what they are")
        await bench.report("as they were written", [(question, question.text) for _, question, _ in triples])
        await bench.report("as follow-ups, alone", [(short, short.text) for short, _, _ in triples])
        await bench.report(
            "as follow-ups, with words taken over",
            [await bench.after(short, before) for short, _, before in triples],
        )

        half = len(questions) // 2
        pairs = [
            (question, questions[(number + half) % len(questions)])
            for number, question in enumerate(questions)
            if bench.rewriter.says_too_little(question.text, language)
        ]
        print(f"{len(questions)} questions as they were written, {len(pairs)} of them taken for follow-ups")
        await bench.report("these, alone", [(question, question.text) for question, _ in pairs])
        await bench.report(
            "these, after another subject",
            [await bench.after(question, before) for question, before in pairs],
        )
    finally:
        await embedder.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("squad_json", type=Path)
    parser.add_argument("--language", default="en", choices=sorted(PRONOUN))
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.squad_json, arguments.language))


if __name__ == "__main__":
    main()
