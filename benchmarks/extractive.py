"""How often the extractive generator quotes the answer, and how often it rightly says nothing.

    python -m benchmarks.extractive SQUAD_JSON [--language en|es|mul] [--fusion adaptive|rrf] [--limit N]

Every paragraph of a file in the SQuAD format is one chunk. Each question is asked twice: of the whole
corpus, and of the corpus without the question's article, where the only right answer is to abstain.
Ten sources each time, as the server finds them by default (`adaptive`), or by a plainer retrieval that
gets fewer of them right: cosine and BM25 (rank-bm25) fused by reciprocal rank, both alike (`rrf`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rank_bm25 import BM25Okapi

from benchmarks.extractive_index import CANDIDATES, TOP_K, ServerIndex
from rag_server.backends.extractive import ExtractiveGenerator
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import Embedder, EmbeddingModel, Embeddings, Tokenizer
from rag_server.domain.document import Chunk, Span
from rag_server.domain.fusion import RrfFusion
from rag_server.domain.generation import Cited, FinishReason, GenerationRequest, Prompt
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import Leg, LegSignal, RetrievalRequest, ScoredChunk
from rag_server.text.analyzer import Analyzer

FUSION = RrfFusion()
BATCH = 256


@dataclass(frozen=True)
class Question:
    """A question, the answers that count, and the article that holds them."""

    text: str
    answers: tuple[str, ...]
    article: int


@dataclass(frozen=True)
class Tally:
    """Counts over all questions."""

    questions: int
    in_quotes: int
    in_first: int
    false_abstentions: int
    right_abstentions: int


class CachedEmbedder:
    """An `Embedder` that embeds each text once: the same sentences come up for many questions."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def model(self) -> EmbeddingModel:
        """The wrapped embedder's."""
        return self._embedder.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The wrapped embedder's."""
        return self._embedder.tokenizer

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        """Return the vectors, from memory where possible."""
        new = sorted({text for text in texts if text not in self._vectors}, key=len)
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            vectors = await self._embedder.embed(batch, priority=priority)
            self._vectors.update(zip(batch, vectors, strict=True))
        return np.stack([self._vectors[text] for text in texts])

    async def close(self) -> None:
        """Close the wrapped embedder."""
        await self._embedder.close()


class HybridIndex:
    """All paragraphs in memory, found by cosine and BM25 and fused by reciprocal rank."""

    def __init__(
        self, chunks: list[Chunk], articles: list[int], vectors: Embeddings, analyzer: Analyzer
    ) -> None:
        self._chunks = chunks
        self._articles = np.array(articles)
        self._vectors = vectors
        self._analyzer = analyzer
        self._bm25 = BM25Okapi([analyzer.analyze(chunk.text) for chunk in chunks])

    def retrieve(
        self, question: str, vector: npt.NDArray[np.float32], *, without: int | None
    ) -> list[ScoredChunk]:
        """Return the sources for `question`, from all articles but `without`."""
        present = np.flatnonzero(self._articles != (-1 if without is None else without))
        scores = {
            Leg.DENSE: self._vectors @ vector,
            Leg.LEXICAL: self._bm25.get_scores(self._analyzer.analyze(question)),
        }
        fused: defaultdict[int, float] = defaultdict(float)
        signals: dict[int, dict[Leg, LegSignal]] = {}
        for leg, values in scores.items():
            nearest = present[np.argsort(-values[present], kind="stable")][:CANDIDATES]
            for rank, row in enumerate(nearest.tolist(), start=1):
                if leg is Leg.DENSE or values[row] > 0:
                    fused[row] += 1 / (FUSION.k + rank)
                    signals.setdefault(row, {})[leg] = LegSignal(rank, float(values[row]))
        best = sorted(fused, key=lambda row: (-fused[row], row))[:TOP_K]
        return [ScoredChunk(self._chunks[row], fused[row], signals[row]) for row in best]


def load(path: Path) -> tuple[list[Chunk], list[int], list[Question]]:
    """Read a file in the SQuAD format; return its paragraphs, the article of each, and the questions."""
    chunks: list[Chunk] = []
    articles: list[int] = []
    questions: list[Question] = []
    for article, entry in enumerate(json.loads(path.read_text(encoding="utf-8"))["data"]):
        for paragraph in entry["paragraphs"]:
            chunks.append(paragraph_chunk(paragraph["context"], str(article), len(chunks)))
            articles.append(article)
            questions += [
                Question(asked["question"].strip(), tuple(a["text"] for a in asked["answers"]), article)
                for asked in paragraph["qas"]
            ]
    return chunks, articles, questions


def paragraph_chunk(text: str, document_id: str, ordinal: int) -> Chunk:
    """Return a paragraph as a chunk, each in a document revision of its own."""
    return Chunk(
        id=f"{ordinal:06d}", tenant_id="default", collection_id="squad", document_id=document_id,
        document_revision=ordinal, ordinal=ordinal, text=text, span=Span(0, len(text)), heading_path=(),
        token_count=0, page_start=None, page_end=None, title="", source_uri="", media_type="text/plain",
    )  # fmt: skip


async def quotes(
    generator: ExtractiveGenerator, question: Question, sources: Sequence[ScoredChunk]
) -> tuple[list[str], bool]:
    """Return the quoted sentences, and whether the generator abstained."""
    request = GenerationRequest(RetrievalRequest(("squad",), question.text))
    quoted: list[str] = []
    abstained = False
    async for event in generator.generate(Prompt(request, tuple(sources))):
        if isinstance(event, Cited):
            quoted.append(event.citation.quote)
        elif isinstance(event, FinishReason):
            abstained = event is FinishReason.NO_RELEVANT_CONTENT
    return quoted, abstained


async def evaluate(embedder: Embedder, path: Path, language: str, fusion: str, limit: int | None) -> Tally:
    """Ask every question (or `limit` of them, evenly spread) with and without its article."""
    chunks, articles, questions = load(path)
    if limit is not None and limit < len(questions):
        questions = [questions[i * len(questions) // limit] for i in range(limit)]
    cached = CachedEmbedder(embedder)
    vectors = await cached.embed([chunk.text for chunk in chunks], priority=Priority.BULK)
    asked = await cached.embed([question.text for question in questions], priority=Priority.BULK)
    analyzer = Analyzer.for_language(language)
    index: HybridIndex | ServerIndex
    if fusion == "rrf":
        index = HybridIndex(chunks, articles, vectors, analyzer)
    else:
        index = ServerIndex(chunks, articles, vectors, analyzer, embedder.model)
    generator = ExtractiveGenerator(cached)
    talkative = ExtractiveGenerator(cached, min_confidence=-1.0)

    in_quotes = in_first = false_abstentions = right_abstentions = 0
    for question, vector in zip(questions, asked, strict=True):
        sources = index.retrieve(question.text, vector, without=None)
        quoted, _ = await quotes(talkative, question, sources)
        found = [any(a.lower() in quote.lower() for a in question.answers) for quote in quoted]
        in_quotes += any(found)
        in_first += found[0]
        _, abstained = await quotes(generator, question, sources)
        false_abstentions += abstained
        bereft = index.retrieve(question.text, vector, without=question.article)
        _, abstained = await quotes(generator, question, bereft)
        right_abstentions += abstained
    return Tally(len(questions), in_quotes, in_first, false_abstentions, right_abstentions)


def report(tally: Tally) -> None:
    """Print the shares."""
    for label, count in (
        ("answer within the quotes (three at most)", tally.in_quotes),
        ("answer in the first quote", tally.in_first),
        ("abstains though the article is there", tally.false_abstentions),
        ("abstains when the article is removed", tally.right_abstentions),
    ):
        print(f"{label:<42}{count / tally.questions:7.1%}")
    print(f"{'questions':<42}{tally.questions:7}")


async def run(path: Path, language: str, fusion: str, limit: int | None) -> None:
    """Evaluate with the server's embedder and print the report."""
    embedder = await OnnxEmbedder.create()
    try:
        report(await evaluate(embedder, path, language, fusion, limit))
    finally:
        await embedder.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("squad_json", type=Path)
    parser.add_argument("--language", default="mul", help="analyser of the index: en, es, mul (default)")
    parser.add_argument(
        "--fusion", choices=("adaptive", "rrf"), default="adaptive", help="(default: adaptive)"
    )
    parser.add_argument("--limit", type=int, help="ask only this many questions, evenly spread")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.squad_json, arguments.language, arguments.fusion, arguments.limit))


if __name__ == "__main__":
    main()
