"""The options that say what a model makes of a question before the search, and what it has made of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rag.v1.expansion_pb2 import QueryExpansion, SearchedWith
from rag.v1.options_pb2 import GenerationOptions
from ragctl.errors import CommandFailed
from ragctl.output import Output, one_line

_SHOWN_CHARACTERS = 160
"""Of a passage that was made up."""


class ExpansionMethod(StrEnum):
    """A member of the contract's `QueryExpansion.method`, as it is written on the command line."""

    MULTI_QUERY = "multi-query"
    HYDE = "hyde"
    DECOMPOSITION = "decomposition"


_COUNTS = {
    ExpansionMethod.MULTI_QUERY: "query_count",
    ExpansionMethod.HYDE: "passage_count",
    ExpansionMethod.DECOMPOSITION: "max_query_count",
}
"""The field of each method that bounds what it adds."""


class RewritingMethod(StrEnum):
    """A member of the contract's `QuestionRewriting.method`."""

    NONE = "none"
    RULES = "rules"
    MODEL = "model"


Expand = Annotated[
    ExpansionMethod | None,
    typer.Option(
        "--expand",
        help="Have a model add to what is searched: other words (multi-query), passages that it makes up "
        "(hyde), or simpler questions (decomposition).",
        show_default=False,
    ),
]
ExpandModel = Annotated[
    str, typer.Option("--expand-model", help="The model of --expand; the one that answers without it.")
]
ExpandCount = Annotated[
    int | None,
    typer.Option(
        "--expand-count",
        metavar="N",
        help="How many queries or passages --expand adds at most.",
        show_default=False,
    ),
]
Rewrite = Annotated[
    RewritingMethod | None,
    typer.Option(
        "--rewrite",
        help="Who makes a follow-up question one to search with; as the server is set without it.",
        show_default=False,
    ),
]
RewriteModel = Annotated[
    str,
    typer.Option("--rewrite-model", help="The model of --rewrite model; the one that answers without it."),
]


def add_expansion(
    options: GenerationOptions, method: ExpansionMethod | None, model: str, count: int | None
) -> None:
    """Write what `--expand`, `--expand-model` and `--expand-count` ask for into `options`.

    Raises:
        CommandFailed: A model or a number is given for nothing.
    """
    if method is None:
        if model or count is not None:
            raise CommandFailed.for_usage("--expand-model and --expand-count need --expand")
        return
    expansion = QueryExpansion(model=model)
    added = getattr(expansion, method.name.lower())
    added.SetInParent()
    if count is not None:
        setattr(added, _COUNTS[method], count)
    options.expansion.CopyFrom(expansion)


def add_rewriting(options: GenerationOptions, method: RewritingMethod | None, model: str) -> None:
    """Write what `--rewrite` and `--rewrite-model` ask for into `options`.

    Raises:
        CommandFailed: A model is given for nothing.
    """
    if model and method is not RewritingMethod.MODEL:
        raise CommandFailed.for_usage("--rewrite-model needs --rewrite model")
    if method is not None:
        getattr(options.rewriting, method.value).SetInParent()
    if model:
        options.rewriting.model.model = model


def show_searched(output: Output, search_question: str, searched: SearchedWith) -> None:
    """Tell what was searched with, where that is not the question alone."""
    for line in _lines(search_question, searched):
        output.line(line, style="dim")


def _lines(search_question: str, searched: SearchedWith) -> list[str]:
    queries = list(searched.queries) or [search_question]
    asked = queries if search_question else queries[1:]
    lines = [f"searched: {one_line(query)}" for query in asked if query]
    for passage in searched.passages:
        text = one_line(passage)
        cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
        lines.append(f"searched near: {cut}")
    return lines
