"""The options of a question: where it is answered from, and how. One list for `ask` and `chat`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from rag.v1.generate_service_pb2 import StreamGenerateRequest
from ragctl import answer_options, ranking_options
from ragctl.errors import CommandFailed
from ragctl.option_lists import with_options
from ragctl.search import Filters, filter_of

_OPTIONS: dict[str, Any] = {
    "collections": Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            "-c",
            help="A collection to answer from; repeatable. Without one, the assistant's.",
        ),
    ],
    "assistant": Annotated[
        str,
        typer.Option("--assistant", help="The assistant that answers; auto: the one that fits the question."),
    ],
    "filters": Filters,
    "sources": Annotated[
        int | None,
        typer.Option("--sources", help="Passages that the answer may draw on.", show_default=False),
    ],
    **answer_options.OPTIONS,
    **ranking_options.OPTIONS,
}
_DEFAULTS: dict[str, Any] = {"assistant": "", **answer_options.DEFAULTS, **ranking_options.DEFAULTS}


def asked(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options. It takes them as a `StreamGenerateRequest` named `request`."""
    return with_options(function, "request", _OPTIONS, lambda _, given: question_of(given), _DEFAULTS)


def question_of(given: Mapping[str, Any]) -> StreamGenerateRequest:
    """Return the request of the options, which says all but the question.

    Raises:
        CommandFailed: Nothing says where to answer from, or an option is not of its form.
    """
    collections, assistant, sources = given["collections"], given["assistant"], given["sources"]
    if not collections and not assistant:
        raise CommandFailed.for_usage("say where to answer from: --collection, or --assistant")
    request = StreamGenerateRequest(
        collection_ids=collections,
        assistant=assistant,
        retrieval=ranking_options.retrieval_options(
            collections or (), **{name: given[name] for name in ranking_options.OPTIONS}
        ),
        generation=answer_options.generation_options(
            **{name: given[name] for name in answer_options.OPTIONS}
        ),
    )
    if sources is not None:
        request.retrieval.top_k = sources
    wanted = filter_of(given["filters"])
    if wanted is not None:
        request.retrieval.filter.CopyFrom(wanted)
    return request
