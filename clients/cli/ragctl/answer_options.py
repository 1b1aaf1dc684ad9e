"""The options that say how an answer is written: one list for `ask` and `chat`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rag.v1.options_pb2 import (
    ANSWER_CACHING_ALLOWED,
    ANSWER_CACHING_BYPASSED,
    CITATION_MARKERS_KEPT,
    GENERATION_PRIORITY_BULK,
    GenerationOptions,
)
from ragctl.output_options import ChoiceOption, JsonSchemaOption, RegexOption, output_of
from ragctl.question_options import Expand, ExpandCount, ExpandModel, ExpansionMethod, add_expansion

PANEL = "Answer"


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=PANEL, show_default=False, **more)


OPTIONS: dict[str, Any] = {
    "expand": Expand,
    "expand_model": ExpandModel,
    "expand_count": ExpandCount,
    "model": Annotated[
        str, _option("--model", text="Name or alias of a model; the server's default without it.")
    ],
    "language": Annotated[
        str,
        _option(
            "--language", text="Language of prompt and fixed phrases, such as es; the question's without it."
        ),
    ],
    "max_tokens": Annotated[
        int | None, _option("--max-tokens", text="Upper bound of the answer, in tokens.")
    ],
    "max_cost": Annotated[
        float | None,
        _option(
            "--max-cost",
            text="Upper bound of what the answer may cost, in the unit of the models' prices; a question "
            "that could cost more is refused.",
        ),
    ],
    "temperature": Annotated[
        float | None, _option("--temperature", text="0 to 2: how freely the model chooses its words.")
    ],
    "top_p": Annotated[
        float | None,
        _option("--top-p", text="0 to 1: the share of the likeliest words that it chooses from."),
    ],
    "seed": Annotated[
        int | None, _option("--seed", text="Makes answers of the same question alike, where the model can.")
    ],
    "stop": Annotated[
        list[str] | None,
        _option("--stop", text="A text before which the answer ends; repeatable.", metavar="TEXT"),
    ],
    "markers": Annotated[
        bool,
        _option(
            "--markers",
            text="Keep the markers by which a model that writes names its sources: [n] is the n-th passage.",
        ),
    ],
    "grounding": Annotated[
        bool, _option("--grounding", text="Have the answer judged by its sources, and show the score.")
    ],
    "min_grounding": Annotated[
        float | None,
        _option(
            "--min-grounding", text="0 to 1: withhold an answer whose sources support less of it than this."
        ),
    ],
    "cache": Annotated[
        bool | None,
        _option(
            "--cache/--no-cache",
            text="Take an answer that was given to the same before, even if the model might use other words "
            "today; or ask a model in any case. Without it: where the answer would come out alike.",
        ),
    ],
    "bulk": Annotated[
        bool, _option("--bulk", text="Nobody waits for the answer: those that are waited for go first.")
    ],
    "json_schema": JsonSchemaOption,
    "regex": RegexOption,
    "choices": ChoiceOption,
}
DEFAULTS: dict[str, Any] = {
    "expand_model": "",
    "model": "",
    "language": "",
    "markers": False,
    "grounding": False,
    "bulk": False,
    "regex": "",
}


def generation_options(
    *,
    expand: ExpansionMethod | None = None,
    expand_model: str = "",
    expand_count: int | None = None,
    model: str = "",
    language: str = "",
    max_tokens: int | None = None,
    max_cost: float | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Sequence[str] | None = None,
    markers: bool = False,
    grounding: bool = False,
    min_grounding: float | None = None,
    cache: bool | None = None,
    bulk: bool = False,
    json_schema: Path | None = None,
    regex: str = "",
    choices: Sequence[str] | None = None,
) -> GenerationOptions:
    """Return what the options ask for; the server checks the ranges.

    Raises:
        CommandFailed: Options that exclude each other, or a file that cannot be read.
    """
    options = GenerationOptions(
        max_answer_tokens=max_tokens,
        language=language,
        model=model,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop,
        max_cost=max_cost,
        output=output_of(json_schema, regex, choices),
    )
    add_expansion(options, expand, expand_model, expand_count)
    if markers:
        options.citation_markers = CITATION_MARKERS_KEPT
    if grounding:
        options.grounding.SetInParent()
    if min_grounding is not None:
        options.grounding.min_score = min_grounding
    if cache is not None:
        options.cache = ANSWER_CACHING_ALLOWED if cache else ANSWER_CACHING_BYPASSED
    if bulk:
        options.priority = GENERATION_PRIORITY_BULK
    return options
