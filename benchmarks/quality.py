"""How well the legs and their fusions rank: nDCG@10 on labelled sets in BEIR's layout.

    python -m benchmarks.quality FOLDER... [--languages LANG,...] [--candidates N] [--limit N]
                                 [--cache FOLDER] [--rerank late_interaction] [--markdown]

Each set is brought into the resident engine; every query is searched once, and its candidates are fused by
each method with its defaults. The language of a set is guessed from its queries unless it is given. Vectors
are kept in the cache folder: embedding is what takes the time. Reranking embeds 20 passages per query.

Ends with status 1 where the default fusion is more than 0.005 below the better leg, or, in a run without
options, below the target of a set that has one. Samples (`--limit`) are held against nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.peers_data import Labelled, ndcg, read_labelled
from benchmarks.quality_engine import Answer, resident_engine
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.candidates import Candidates
from rag_server.domain.fusion import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.domain.retrieval import LateInteraction
from rag_server.query.fuse.context import is_language_covered
from rag_server.query.fuse.registry import fuse, order
from rag_server.query.rerank.late_interaction import LateInteractionReranker
from rag_server.query.rerank.reranker import Reranker

DEPTH = 10
TOLERANCE = 0.005
CANDIDATES = 50
DENSE, LEXICAL, DEFAULT = "dense", "BM25", "adaptive"
METHODS: Mapping[str, Fusion] = {
    DENSE: AdaptiveFusion(lexical_weight=0.0),
    LEXICAL: AdaptiveFusion(dense_weight=0.0),
    "RRF(60)": RrfFusion(k=60),
    "min-max": MinMaxFusion(),
    "z-score": ZScoreFusion(),
    DEFAULT: AdaptiveFusion(),
}
TARGETS = {"scifact": 0.735, "xquad-es-distractors": 0.885, "xquad-en": 0.978}
"""By name of the folder."""
RERANKERS: Mapping[str, Callable[[OnnxEmbedder], Reranker]] = {"late_interaction": LateInteractionReranker}

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    candidate_count: int
    limit: int | None
    cache: Path | None
    reranker: str | None


@dataclass(frozen=True)
class Quality:
    """Mean nDCG@10 by method on one set."""

    name: str
    language: str
    query_count: int
    ndcg_at_10: Mapping[str, float]

    def missed(self, targets: Mapping[str, float]) -> list[str]:
        """Return what the default fusion fell short of; `targets` are by name of the set."""
        reached = self.ndcg_at_10[DEFAULT]
        leg = max((DENSE, LEXICAL), key=lambda name: self.ndcg_at_10[name])
        bounds = {f"{leg} - {TOLERANCE:g}": self.ndcg_at_10[leg] - TOLERANCE}
        if self.name in targets:
            bounds["target"] = targets[self.name]
        return [
            f"{self.name}: {DEFAULT} {reached:.4f} < {bound:.4f} ({what})"
            for what, bound in bounds.items()
            if reached < bound
        ]


async def measure(labelled: Labelled, language: str, embedder: OnnxEmbedder, options: Options) -> Quality:
    """Ask every query of a set."""
    corpus = labelled.corpus
    is_covered = is_language_covered(language, embedder.model.languages)
    engine = resident_engine(corpus, language, is_language_covered=is_covered)
    reranker = RERANKERS[options.reranker](embedder) if options.reranker else None
    gains: dict[str, list[float]] = defaultdict(list)
    for row in _spread(len(corpus.queries), options.limit):
        query, relevant = corpus.queries[row], labelled.relevant[row]
        answer = engine(corpus.query_vectors[row], query, options.candidate_count)
        rankings = {name: ranked(answer, fusion) for name, fusion in METHODS.items()}
        if reranker is not None:
            rankings[f"+ {options.reranker}"] = await _reranked(
                reranker, query, rankings[DEFAULT], corpus.texts
            )
        for name, ranking in rankings.items():
            gains[name].append(ndcg([corpus.ids[place] for place in ranking[:DEPTH]], relevant, DEPTH))
    means = {name: statistics.fmean(each) for name, each in gains.items()}
    return Quality(labelled.name, language, len(gains[DEFAULT]), means)


def ranked(answer: Answer, fusion: Fusion) -> Indices:
    """Return the passages that a request with this fusion ranks, best first."""
    found = answer.candidates
    legs = [
        None if leg is None or weight == 0 else leg
        for leg, weight in ((found.dense, fusion.dense_weight), (found.lexical, fusion.lexical_weight))
    ]
    returned = np.zeros(len(found), bool)
    for leg in legs:
        if leg is not None:
            returned |= leg.ranks > 0
    rows = np.flatnonzero(returned)
    dense, lexical = (
        None if leg is None else replace(leg, scores=leg.scores[rows], ranks=leg.ranks[rows]) for leg in legs
    )
    asked = Candidates(found.positions[rows], dense, lexical)
    return asked.positions[order(asked, fuse(asked, fusion, answer.context).scores)]


async def _reranked(reranker: Reranker, query: str, ranking: Indices, texts: Sequence[str]) -> Indices:
    head = ranking[: LateInteraction().candidate_count]
    scores = await reranker.score(query, [texts[place] for place in head])
    return head[np.argsort(-scores, kind="stable")]


def _spread(count: int, limit: int | None) -> list[int]:
    """Return `limit` of `count` indices, evenly spread."""
    chosen = count if limit is None else min(limit, count)
    return [index * count // chosen for index in range(chosen)]


def as_table(measured: Sequence[Quality], *, markdown: bool) -> str:
    """Return one line per set, one column per method."""
    methods = list(measured[0].ndcg_at_10)
    head = ["nDCG@10 (language, queries)", *methods]
    rows = [
        [f"{each.name} ({each.language}, {each.query_count})"]
        + [_three_digits(each.ndcg_at_10[method], bold=markdown and method == DEFAULT) for method in methods]
        for each in measured
    ]
    if markdown:
        rule = ["---", *("---:" for _ in methods)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
    width = max(len(cells[0]) for cells in (head, *rows))
    widths = [max(10, len(method) + 2) for method in methods]
    return "\n".join(
        cells[0].ljust(width)
        + "".join(cell.rjust(room) for cell, room in zip(cells[1:], widths, strict=True))
        for cells in (head, *rows)
    )


def _three_digits(value: float, *, bold: bool) -> str:
    digits = f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
    return f"**{digits}**" if bold else digits


async def run(folders: Sequence[Path], languages: Sequence[str], options: Options) -> list[Quality]:
    """Measure every set; `languages` are theirs, empty where they are to be guessed."""
    embedder = await OnnxEmbedder.create()
    measured = []
    try:
        for folder, language in zip(folders, languages, strict=True):
            labelled = await read_labelled(folder, embedder, options.cache)
            measured.append(await measure(labelled, language or labelled.corpus.language, embedder, options))
    finally:
        await embedder.close()
    return measured


def main() -> int:
    """Print the table; return 1 where a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--languages", help="one per folder, by comma; an empty one is guessed")
    parser.add_argument(
        "--candidates", type=int, default=CANDIDATES, help="of each leg (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, help="ask only so many queries of each set, evenly spread")
    parser.add_argument("--cache", type=Path, help="folder that keeps the vectors")
    parser.add_argument("--rerank", choices=RERANKERS, help="a further column")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    arguments = parser.parse_args()
    languages = arguments.languages.split(",") if arguments.languages else [""] * len(arguments.folders)
    if len(languages) != len(arguments.folders):
        parser.error("--languages: one per folder")
    options = Options(arguments.candidates, arguments.limit, arguments.cache, arguments.rerank)
    measured = asyncio.run(run(arguments.folders, languages, options))
    print(as_table(measured, markdown=arguments.markdown))
    if options.limit is not None:
        return 0
    # the targets are those of a request that leaves everything at its default
    is_default = not arguments.languages and options.candidate_count == CANDIDATES
    targets = TARGETS if is_default else {}
    missed = [line for each in measured for line in each.missed(targets)]
    for line in missed:
        print(f"MISSED {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
