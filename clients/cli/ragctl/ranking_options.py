"""The options that say how passages are ranked: one list for `search` and `ask`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from rag.v1.fusion_pb2 import Fusion
from rag.v1.options_pb2 import QuerySyntax, RetrievalOptions
from rag.v1.rerank_pb2 import Rerank
from rag.v1.retrieved_chunk_pb2 import CollectionRevision, ScoreScale
from ragctl.errors import CommandFailed
from ragctl.option_lists import with_options

PANEL = "Ranking"
_SCALE_PREFIX = "SCORE_SCALE_"
_SYNTAX_PREFIX = "QUERY_SYNTAX_"
_SCALES = {
    name.removeprefix(_SCALE_PREFIX).lower().replace("_", "-"): number
    for name, number in ScoreScale.items()
    if number != ScoreScale.SCORE_SCALE_UNSPECIFIED
}


class FusionMethod(StrEnum):
    """A member of the contract's `Fusion.method`, as it is written on the command line."""

    ADAPTIVE = "adaptive"
    RRF = "rrf"
    MIN_MAX = "min-max"
    Z_SCORE = "z-score"


class RerankMethod(StrEnum):
    """A member of the contract's `Rerank.method`, as it is written on the command line."""

    LATE_INTERACTION = "late-interaction"
    CROSS_ENCODER = "cross-encoder"


class Syntax(StrEnum):
    """How a query is read."""

    OPERATORS = "operators"
    PLAIN = "plain"


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=PANEL, show_default=False, **more)


OPTIONS: dict[str, Any] = {
    "candidates": Annotated[int | None, _option("--candidates", "Candidates that each leg contributes.")],
    "fusion": Annotated[
        FusionMethod | None, _option("--fusion", "How the legs are merged; adaptive without it.")
    ],
    "dense_weight": Annotated[
        float | None, _option("--dense-weight", "Weight of the vector leg; 0 switches it off.")
    ],
    "lexical_weight": Annotated[
        float | None, _option("--lexical-weight", "Weight of the BM25 leg; 0 switches it off.")
    ],
    "rrf_k": Annotated[int | None, _option("--rrf-k", "The k of --fusion rrf.")],
    "rerank": Annotated[RerankMethod | None, _option("--rerank", "Score the best candidates again.")],
    "rerank_candidates": Annotated[
        int | None, _option("--rerank-candidates", "How many of the best candidates --rerank looks at.")
    ],
    "mmr": Annotated[
        float | None,
        _option("--mmr", "Prefer results that differ; share of relevance, such as 0.7.", metavar="WEIGHT"),
    ],
    "near_duplicates": Annotated[
        float | None,
        _option(
            "--near-duplicates",
            "Leave out results whose cosine similarity to a better one is at least this, such as 0.95.",
            metavar="COSINE",
        ),
    ],
    "group": Annotated[
        int | None,
        _option("--group", "Group by document, with up to N results of each.", metavar="N"),
    ],
    "threshold": Annotated[
        str,
        _option(
            "--threshold",
            f"Leave out results below a score, such as cosine=0.3; scales: {', '.join(_SCALES)}.",
            metavar="SCALE=SCORE",
        ),
    ],
    "context_chunks": Annotated[
        int | None,
        _option("--context", "Bring N chunks before and after each result too.", metavar="N"),
    ],
    "syntax": Annotated[
        Syntax | None,
        _option(
            "--syntax",
            'operators reads "a phrase" and -exclusion, plain takes every sign as text. '
            "`search` reads operators, `ask` plain text without it.",
        ),
    ],
    "min_revisions": Annotated[
        list[str] | None,
        _option(
            "--min-revision",
            "Wait until this revision can be searched: one that a write has answered with. "
            "With several collections NAME=N, repeatable.",
            metavar="[COLLECTION=]N",
        ),
    ],
}
DEFAULTS: dict[str, Any] = {"threshold": ""}


def ranked(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of this module. It takes them as a `RetrievalOptions` named `ranking`.

    Goes below `@command`; the command has a parameter `collections` too.
    """
    return with_options(
        function,
        "ranking",
        OPTIONS,
        lambda command, given: retrieval_options(command["collections"], **given),
        DEFAULTS,
    )


def retrieval_options(
    collections: Sequence[str],
    *,
    candidates: int | None = None,
    fusion: FusionMethod | None = None,
    dense_weight: float | None = None,
    lexical_weight: float | None = None,
    rrf_k: int | None = None,
    rerank: RerankMethod | None = None,
    rerank_candidates: int | None = None,
    mmr: float | None = None,
    near_duplicates: float | None = None,
    group: int | None = None,
    threshold: str = "",
    context_chunks: int | None = None,
    syntax: Syntax | None = None,
    min_revisions: Sequence[str] | None = None,
) -> RetrievalOptions:
    """Return what the options ask for; the server checks the ranges.

    Raises:
        CommandFailed: An option is not of its form, or belongs to one that was not given.
    """
    options = RetrievalOptions(
        candidate_count=candidates, duplicate_similarity=near_duplicates, context_chunks=context_chunks
    )
    merging = _fusion(fusion, dense_weight, lexical_weight, rrf_k)
    if merging is not None:
        options.fusion.CopyFrom(merging)
    if rerank is not None:
        options.rerank.CopyFrom(rerank_by(rerank, rerank_candidates))
    elif rerank_candidates is not None:
        raise CommandFailed.for_usage("--rerank-candidates needs --rerank")
    if mmr is not None:
        options.diversity.mmr.relevance_weight = mmr
    if group is not None:
        options.grouping.chunks_per_document = group
    if threshold:
        scale, score = _threshold(threshold)
        options.threshold.scale = scale
        options.threshold.min_score = score
    if syntax is not None:
        options.query_syntax = QuerySyntax.Value(f"{_SYNTAX_PREFIX}{syntax.name}")
    options.min_revisions.extend(_min_revision(each, collections) for each in min_revisions or ())
    return options


def rerank_by(method: RerankMethod, candidate_count: int | None = None) -> Rerank:
    """Return the contract's message for a method."""
    message = Rerank()
    parameters = getattr(message, method.name.lower())
    parameters.SetInParent()
    if candidate_count is not None:
        parameters.candidate_count = candidate_count
    return message


def _fusion(
    method: FusionMethod | None, dense_weight: float | None, lexical_weight: float | None, k: int | None
) -> Fusion | None:
    """Return the fusion that the options describe; weights alone are those of the adaptive one."""
    if k is not None and method is not FusionMethod.RRF:
        raise CommandFailed.for_usage("--rrf-k needs --fusion rrf")
    if method is None and dense_weight is None and lexical_weight is None:
        return None
    message = Fusion()
    parameters = getattr(message, (method or FusionMethod.ADAPTIVE).name.lower())
    parameters.SetInParent()
    for name, value in (("dense_weight", dense_weight), ("lexical_weight", lexical_weight), ("k", k)):
        if value is not None:
            setattr(parameters, name, value)
    return message


def _threshold(text: str) -> tuple[ScoreScale.ValueType, float]:
    scale, equals, number = text.partition("=")
    try:
        score = float(number)
    except ValueError:
        score = math.nan
    if not equals or scale not in _SCALES or not math.isfinite(score):
        raise CommandFailed.for_usage(
            f"{text!r} is not SCALE=SCORE, such as cosine=0.3, with a scale of {', '.join(_SCALES)}"
        )
    return _SCALES[scale], score


def _min_revision(text: str, collections: Sequence[str]) -> CollectionRevision:
    name, equals, number = text.rpartition("=")
    if not equals and len(collections) != 1:
        raise CommandFailed.for_usage(f"--min-revision {text}: say of which collection, as in NAME={text}")
    if not number.isascii() or not number.isdigit() or int(number) >= 2**63:
        raise CommandFailed.for_usage(f"--min-revision {text}: {number!r} is not a revision")
    return CollectionRevision(collection_id=name if equals else collections[0], revision=int(number))
