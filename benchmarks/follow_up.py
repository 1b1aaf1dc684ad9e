"""What taking over words from earlier questions does to those that say too little, and to those that do not.

    python benchmarks/follow_up.py SQUAD_JSON [--language en|es]

The questions of a file in the SQuAD format were written one by one, so nearly all make sense alone. Those
that `FollowUpWords` would add words to are searched with three times: alone, after the question that stands
before them in the file, and after one of another article, as if the subject had changed. A hit is a passage of
the article that holds an answer.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from benchmarks.extractive import CachedEmbedder, HybridIndex, Question, load
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.domain.document import Chunk
from rag_server.generation.follow_up import FollowUpWords
from rag_server.text.analyzer import Analyzer

CUTS = (1, 3, 10)


def hit_at(question: Question, chunks: list[Chunk], articles: dict[str, int], count: int) -> bool:
    """Whether one of the first `count` passages is of the question's article and holds an answer."""
    return any(
        articles[chunk.id] == question.article and any(answer in chunk.text for answer in question.answers)
        for chunk in chunks[:count]
    )


async def measure(path: Path, language: str) -> None:
    """Print the table."""
    chunks, article_of, questions = load(path)
    embedder = CachedEmbedder(await OnnxEmbedder.create())
    try:
        vectors = await embedder.embed([chunk.text for chunk in chunks])
        index = HybridIndex(chunks, article_of, vectors, Analyzer.for_language(language))
        articles = {chunk.id: article for chunk, article in zip(chunks, article_of, strict=True)}
        rewriter = FollowUpWords()
        short = [
            number
            for number, question in enumerate(questions)
            if rewriter.says_too_little(question.text, language)
        ]
        print(f"{len(questions)} questions, {len(short)} of them get words of earlier ones")
        for name, shift in (
            ("alone", None),
            ("after the one before", 1),
            ("after another subject", len(questions) // 2),
        ):
            hits = dict.fromkeys(CUTS, 0)
            for number in short:
                question = questions[number]
                text = question.text
                if shift is not None:
                    before = questions[(number - shift) % len(questions)]
                    text = await rewriter.rewrite(text, [HistoryMessage(Role.USER, before.text)], language)
                (vector,) = await embedder.embed([text])
                found = [each.chunk for each in index.retrieve(text, vector, without=None)]
                for cut in CUTS:
                    hits[cut] += hit_at(question, found, articles, cut)
            shown = ", ".join(f"{hits[cut] / len(short):.0%} in the first {cut}" for cut in CUTS)
            print(f"{name}: {shown}")
    finally:
        await embedder.close()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("squad_json", type=Path)
    parser.add_argument("--language", default="en")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.squad_json, arguments.language))


if __name__ == "__main__":
    main()
