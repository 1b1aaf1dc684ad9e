"""How often examples route a question to the right assistant, by the least similarity that is asked for.

    python -m benchmarks.assistant_routing SQUAD_JSON...

Every second article of a file in the SQuAD format has an assistant, with some of its questions as examples
and no keywords. Its other questions should get it; those of the articles between should get none. Articles of
an encyclopaedia are closer to each other, and wider in themselves, than the subjects of most assistants.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

import numpy as np

from rag_server.assistants.examples import nearest
from rag_server.backends.onnx.embedder import OnnxEmbedder

EXAMPLES = (4, 8, 16)
THRESHOLDS = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)


def questions_of(file: Path) -> list[list[str]]:
    """Return the questions of each article."""
    data = json.loads(file.read_text("utf-8"))["data"]
    return [[each["question"] for part in article["paragraphs"] for each in part["qas"]] for article in data]


async def measure(file: Path, embedder: OnnxEmbedder) -> None:
    """Print what each threshold does to questions that fit an assistant, and to those that fit none."""
    articles = questions_of(file)
    vectors = [await embedder.embed(questions) for questions in articles]
    ours, others = vectors[::2], np.concatenate(vectors[1::2])
    print(f"{file.name}: {len(ours)} assistants, {len(others)} questions of other subjects")
    for count in EXAMPLES:
        chosen = [np.arange(0, len(each), max(1, len(each) // count))[:count] for each in ours]
        examples = [each[rows] for each, rows in zip(ours, chosen, strict=True)]
        held_out = [np.delete(each, rows, axis=0) for each, rows in zip(ours, chosen, strict=True)]
        asked = [(owner, nearest(vector, examples)) for owner, rows in enumerate(held_out) for vector in rows]
        strangers = [nearest(vector, examples) for vector in others]
        print(f"  {count} examples each, {len(asked)} questions that fit one")
        for least in THRESHOLDS:
            found = [(owner, each) for owner, each in asked if each and each.similarity >= least]
            right = sum(owner == each.owner for owner, each in found) / len(asked)
            wrong = sum(owner != each.owner for owner, each in found) / len(asked)
            taken = sum(each is not None and each.similarity >= least for each in strangers) / len(strangers)
            print(
                f"    from {least:.2f} on: right {right:5.1%}, wrong {wrong:5.1%}, "
                f"none {1 - right - wrong:5.1%}; of other subjects taken {taken:5.1%}"
            )


async def main() -> None:
    """Measure each file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="SQUAD_JSON")
    arguments = parser.parse_args()
    embedder = await OnnxEmbedder.create()
    try:
        for file in arguments.files:
            await measure(file, embedder)
    finally:
        await embedder.close()


if __name__ == "__main__":
    asyncio.run(main())
