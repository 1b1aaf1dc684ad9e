"""Exact search, codes and graph: from how many rows on each pays, and what it finds, by size and filter.

    python -m benchmarks.dense_threshold [--rows N ...] [--graph-rows N] [--queries N] [--json]

The vectors are those of generated sentences, and of points between pairs of them; the queries are sentences
that no vector was made from. Each way of searching computes on one thread, whose own time is measured: a busy
machine shows less; ways are compared query by query, one after the other. Ends with status 1 where
fewer than 0.98 of the ten best rows are found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import Embeddings
from rag_server.domain.priority import Priority
from rag_server.query.resident import dense, exact, shortlist
from rag_server.query.resident.codes import Codes
from rag_server.query.resident.dense import DenseSegment, Method
from rag_server.query.resident.exact import Found, RowMask
from rag_server.query.resident.graph import Graph

COUNT = 50
"""Candidates asked for, as retrieval does."""
RECALL_TARGET = 0.98
"""Of the ten best."""
SENTENCE_COUNT = 2000
PASS_SHARES = (0.01, 0.1, 0.5)
_TOPIC_COUNT = 25
_NOISE = 0.3

# fmt: off
_SUBJECTS = (
    "the tenant", "a nurse", "the harbour master", "our supplier", "the night shift", "an auditor",
    "the violinist", "a beekeeper", "the compiler", "the glacier", "a customs officer", "the goalkeeper",
    "the court", "a vaccine", "the locomotive", "the bakery", "a satellite", "the archive",
    "the dairy farmer", "an insurance broker", "the turbine", "a translator", "the museum",
    "the coral reef", "a database", "the pension fund", "the pharmacist",
)
_VERBS = (
    "postponed", "measures", "has to renew", "reported", "repairs", "rejected", "depends on", "insures",
    "warms up", "translated", "stores", "inspects", "sold", "forgot", "publishes", "protects", "refunds",
    "calculates", "trains",
)
_OBJECTS = (
    "the monthly deposit", "a shipment of valves", "the patient's blood pressure", "the winter timetable",
    "three old manuscripts", "the query plan", "an appeal against the fine", "the offside rule",
    "the honey harvest", "a cracked gearbox", "the water temperature", "the annual balance sheet",
    "a sourdough starter", "the lease", "an orbit correction", "the import duties", "a string quartet",
    "the milk quota", "a side effect", "the fishing licence", "the retirement age", "a broken index",
    "the emergency exit", "the ice sheet",
)
_ENDINGS = (
    "before the end of March", "in spite of the storm", "for the second time this year",
    "without written notice", "because the price doubled", "at the request of the ministry",
    "as the manual demands", "under supervision", "within thirty days", "after a long dispute",
    "on the southern coast", "whenever demand falls", "by mistake",
)
# fmt: on


@dataclass(frozen=True)
class SizeFigures:
    """One size, no filter; times in milliseconds of one thread's work, medians over queries."""

    rows: int
    exact_ms: float
    codes_ms: float | None
    """None: so few rows that codes save nothing."""
    graph_ms: float | None
    codes_recall: float | None
    """Of the ten best rows."""
    graph_recall: float | None
    codes_build_s: float
    graph_build_s: float | None
    chosen: str


@dataclass(frozen=True)
class FilterFigures:
    """One filter, on the segment as the server would search it."""

    rows: int
    filter: str
    pass_share: float
    method: str
    cost_ratio: float
    """To the search without a filter."""
    recall_10: float
    recall_50: float


def make_sentences(count: int) -> list[str]:
    """Return `count` different sentences, the same at each call."""
    chance = random.Random(7)  # noqa: S311  # reproducible, not secret
    made: dict[str, None] = {}
    while len(made) < count:
        parts = [chance.choice(words) for words in (_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS)]
        made[" ".join(parts).capitalize() + "."] = None
    return list(made)


async def embed(texts: list[str]) -> Embeddings:
    """Return the vectors of `texts`, by the default model."""
    embedder = await OnnxEmbedder.create()
    try:
        batches = [
            await embedder.embed(texts[start : start + 128], priority=Priority.BULK)
            for start in range(0, len(texts), 128)
        ]
    finally:
        await embedder.close()
    return np.concatenate(batches)


def spread(sentences: Embeddings, rows: int) -> tuple[Embeddings, npt.NDArray[np.int64]]:
    """Return `rows` unit vectors, each between two sentences, with noise, and each one's nearer sentence."""
    chance = np.random.default_rng(11)
    near, far = chance.integers(len(sentences), size=(2, rows))
    share = chance.uniform(0, 0.5, (rows, 1)).astype(np.float32)
    noise = chance.standard_normal((rows, sentences.shape[1]), np.float32)
    noise *= _NOISE / np.sqrt(sentences.shape[1])
    vectors = (1 - share) * sentences[near] + share * sentences[far] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors, np.float32), near


def topics(sentences: Embeddings) -> tuple[npt.NDArray[np.int64], Embeddings]:
    """Return the topic of each sentence, the nearest of some sentences picked as centres, and the centres."""
    centres = sentences[np.random.default_rng(13).choice(len(sentences), _TOPIC_COUNT, replace=False)]
    return np.argmax(sentences @ centres.T, axis=1), centres


def masks(
    kind: str, share: float, row_topics: npt.NDArray[np.int64], likeness: npt.NDArray[np.float32], seed: int
) -> RowMask:
    """Return rows that pass: of any topic, or only of those most (`near`) or least (`far`) like the query."""
    chance = np.random.default_rng(seed)
    passing = np.ones(len(row_topics), np.bool_)
    if kind != "random":
        order = np.argsort(-likeness if kind == "near" else likeness)
        shares = np.bincount(row_topics, minlength=_TOPIC_COUNT)[order].cumsum() / len(row_topics)
        passing = np.isin(row_topics, order[: int(np.searchsorted(shares, share)) + 1])
    thinned: RowMask = passing & (chance.random(len(passing)) < share / passing.mean())
    return thinned


def timed(call: Callable[[], Found | None]) -> tuple[float, Found | None]:
    """Return the milliseconds that this thread worked for `call`, and its result."""
    start = time.thread_time()
    result = call()
    return (time.thread_time() - start) * 1e3, result


def recall(found: Found | None, truth: Found, count: int) -> float:
    """Return the share of the `count` best rows that were found."""
    best = set(truth[0][:count].tolist())
    return len(best & set(found[0][:count].tolist())) / len(best) if found is not None and best else 0.0


def measure_size(
    vectors: Embeddings,
    codes: Codes,
    codes_s: float,
    graph: Graph | None,
    graph_s: float | None,
    queries: Embeddings,
) -> SizeFigures:
    """Compare the ways of searching all rows."""
    whole = DenseSegment(0, vectors, graph, None, len(vectors), codes)
    by_codes = DenseSegment(0, vectors, None, None, len(vectors), codes)
    times: dict[Method, list[float]] = {each: [] for each in Method}
    recalls: dict[Method, list[float]] = {each: [] for each in Method}
    for index in range(len(queries)):
        query = queries[index : index + 1]
        spent, truth = timed(lambda: exact.search(vectors, query, COUNT)[0])  # noqa: B023  # called at once
        times[Method.EXACT].append(spent)
        assert truth is not None
        ways: list[tuple[Method, Callable[[], Found | None]]] = []
        if shortlist.is_worthwhile(COUNT, len(vectors)):
            ways.append((Method.CODES, lambda: dense.search([by_codes], query, COUNT)[0]))  # noqa: B023
        if graph is not None:
            ways.append((Method.HNSW, lambda: graph.search(query[0], COUNT)))  # noqa: B023
        for way, call in ways:
            spent, found = timed(call)
            times[way].append(spent)
            recalls[way].append(recall(found, truth, 10))
    return SizeFigures(
        rows=len(vectors),
        exact_ms=statistics.median(times[Method.EXACT]),
        codes_ms=statistics.median(times[Method.CODES]) if times[Method.CODES] else None,
        graph_ms=statistics.median(times[Method.HNSW]) if times[Method.HNSW] else None,
        codes_recall=statistics.fmean(recalls[Method.CODES]) if recalls[Method.CODES] else None,
        graph_recall=statistics.fmean(recalls[Method.HNSW]) if recalls[Method.HNSW] else None,
        codes_build_s=codes_s,
        graph_build_s=graph_s,
        chosen=dense.choose(whole, COUNT).value,
    )


def measure_filters(
    segment: DenseSegment,
    row_topics: npt.NDArray[np.int64],
    queries: Embeddings,
    likeness: npt.NDArray[np.float32],
) -> Iterator[FilterFigures]:
    """Search the segment under each filter; `likeness`: of each query to each topic."""
    rows = len(segment.vectors)
    for kind in ("random", "near", "far"):
        for share in PASS_SHARES:
            plain: list[float] = []
            filtered: list[float] = []
            ten: list[float] = []
            fifty: list[float] = []
            ways: list[Method] = []
            for index in range(len(queries)):
                query = queries[index : index + 1]
                mask = masks(kind, share, row_topics, likeness[index], index)
                passing = int(np.count_nonzero(mask))
                part = DenseSegment(0, segment.vectors, segment.graph, mask, passing, segment.codes)
                truth = exact.search(segment.vectors, query, COUNT, mask=mask, pass_count=passing)[0]
                spent, _ = timed(lambda: dense.search([segment], query, COUNT)[0])  # noqa: B023  # at once
                plain.append(spent)
                spent, found = timed(lambda: dense.search([part], query, COUNT)[0])  # noqa: B023
                filtered.append(spent)
                ten.append(recall(found, truth, 10))
                fifty.append(recall(found, truth, COUNT))
                ways.append(dense.choose(part, COUNT))
            yield FilterFigures(
                rows=rows,
                filter=kind,
                pass_share=share,
                method=statistics.mode(ways).value,
                cost_ratio=statistics.median(filtered) / statistics.median(plain),
                recall_10=statistics.fmean(ten),
                recall_50=statistics.fmean(fifty),
            )


def run(sizes: list[int], graph_rows: int, query_count: int) -> tuple[list[SizeFigures], list[FilterFigures]]:
    """Measure every size; graphs of sizes up to `graph_rows` only, since they take long to build."""
    embedded = asyncio.run(embed(make_sentences(SENTENCE_COUNT + query_count)))
    sentences, queries = embedded[:SENTENCE_COUNT], np.ascontiguousarray(embedded[SENTENCE_COUNT:])
    everything, nearest = spread(sentences, max(sizes))
    sentence_topics, centres = topics(sentences)
    by_size: list[SizeFigures] = []
    by_filter: list[FilterFigures] = []
    for rows in sizes:
        vectors = everything[:rows]
        start = time.thread_time()
        codes = Codes.build(vectors)
        codes_s = time.thread_time() - start
        assert codes is not None
        graph, graph_s = None, None
        if rows <= graph_rows:
            start = time.thread_time()
            graph = Graph.build(vectors)
            graph_s = time.thread_time() - start
        by_size.append(measure_size(vectors, codes, codes_s, graph, graph_s, queries))
        if rows >= dense.CODES_THRESHOLD_ROWS:
            has_graph = rows >= dense.GRAPH_THRESHOLD_ROWS
            segment = DenseSegment(0, vectors, graph if has_graph else None, None, rows, codes)
            by_filter += measure_filters(
                segment, sentence_topics[nearest[:rows]], queries, queries @ centres.T
            )
    return by_size, by_filter


def show(by_size: list[SizeFigures], by_filter: list[FilterFigures]) -> None:
    """Print both tables."""

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    print(
        "rows      exact ms  exact/codes  exact/graph  codes/graph  "
        "recall@10: codes  graph  build s: codes  graph"
    )
    for size in by_size:
        codes, graph = size.codes_ms, size.graph_ms
        print(
            f"{size.rows:<8}  {size.exact_ms:>8.2f}  "
            f"{cell(size.exact_ms / codes if codes else None, '.2f'):>11}  "
            f"{cell(size.exact_ms / graph if graph else None, '.2f'):>11}  "
            f"{cell(codes / graph if codes and graph else None, '.2f'):>11}  "
            f"{cell(size.codes_recall, '.3f'):>16}  {cell(size.graph_recall, '.3f'):>5}  "
            f"{size.codes_build_s:>14.1f}  {cell(size.graph_build_s, '.1f'):>5}"
        )
    print("\nrows      filter  passing  searched by  filtered/unfiltered  recall@10  recall@50")
    for each in by_filter:
        print(
            f"{each.rows:<8}  {each.filter:<6}  {each.pass_share:>7.0%}  {each.method:<11}  "
            f"{each.cost_ratio:>19.2f}  {each.recall_10:>9.3f}  {each.recall_50:>9.3f}"
        )


def main() -> int:
    """Measure, print, return 1 where too little is found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 2000, 5000, 10_000, 20_000])
    parser.add_argument("--graph-rows", type=int, default=20_000, help="build graphs up to this size")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    by_size, by_filter = run(arguments.rows, arguments.graph_rows, arguments.queries)
    if arguments.json:
        print(
            json.dumps(
                {"sizes": [asdict(each) for each in by_size], "filters": [asdict(each) for each in by_filter]}
            )
        )
    else:
        show(by_size, by_filter)
    recalls = [each.recall_10 for each in by_filter] + [
        each.codes_recall for each in by_size if each.codes_recall is not None
    ]
    return int(min(recalls) < RECALL_TARGET)


if __name__ == "__main__":
    sys.exit(main())
