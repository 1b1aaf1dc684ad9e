"""The options that say how an answer is written, and the part of a request that they are."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.v1.options_pb2 import ANSWER_CACHING_BYPASSED, ANSWER_CACHING_UNSPECIFIED, GenerationOptions

Sources = Annotated[int | None, typer.Option("--sources", help="Passages that an answer may draw on.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Upper bound of an answer, in tokens.")]
Language = Annotated[
    str, typer.Option("--language", help="Language of fixed phrases; that of the question without it.")
]
Model = Annotated[
    str, typer.Option("--model", help="Name or alias of a model; the server's default without it.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="0 to 2: how freely the model chooses its words.")
]
MinGrounding = Annotated[
    float | None,
    typer.Option(
        "--min-grounding",
        help="0 to 1: withhold an answer whose sources support less of it than this; 0: show how much.",
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Ask a model, even if it has answered the same before.")
]


def answer_options(
    max_tokens: int | None,
    language: str,
    model: str,
    temperature: float | None,
    min_grounding: float | None,
    *,
    no_cache: bool,
) -> GenerationOptions:
    """Return the message of the options; what is not given is left to the server, which checks the rest."""
    options = GenerationOptions(
        max_answer_tokens=max_tokens,
        language=language,
        model=model,
        temperature=temperature,
        cache=ANSWER_CACHING_BYPASSED if no_cache else ANSWER_CACHING_UNSPECIFIED,
    )
    if min_grounding is not None:
        options.grounding.min_score = min_grounding
    return options
