"""The options that say what a model makes of a question before the search, and what it has made of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rag.v1.expansion_pb2 import QueryExpansion, QuestionRewriting, SearchedWith
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
Rewrite = Annotated[
    RewritingMethod | None,
    typer.Option(
        "--rewrite",
        help="Who makes a follow-up question one to search with; as the server is set without it.",
        show_default=False,
    ),
]


def add_question_options(
    options: GenerationOptions,
    expand: ExpansionMethod | None,
    expand_model: str,
    rewrite: RewritingMethod | None = None,
) -> None:
    """Write what is asked for into `options`.

    Raises:
        CommandFailed: A model is given for nothing.
    """
    if expand is not None:
        expansion = QueryExpansion(model=expand_model)
        getattr(expansion, expand.name.lower()).SetInParent()
        options.expansion.CopyFrom(expansion)
    elif expand_model:
        raise CommandFailed.for_usage("--expand-model needs --expand")
    if rewrite is not None:
        rewriting = QuestionRewriting()
        getattr(rewriting, rewrite.value).SetInParent()
        options.rewriting.CopyFrom(rewriting)


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
