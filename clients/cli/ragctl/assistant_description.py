"""What is said of an assistant on the command line: single options, or a file with the contract's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import ParseDict, ParseError

from rag.v1.assistant_pb2 import Assistant
from ragctl.errors import CommandFailed
from ragctl.option_lists import with_options

OUTPUT_ONLY = frozenset({"id", "revision", "create_time", "update_time"})
"""What `assistants get --json` shows besides what can be given: ignored in a file."""

_PANEL = "Assistant"


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_PANEL, show_default=False, **more)


_OPTIONS: dict[str, Any] = {
    "file": Annotated[
        Path | None,
        _option(
            "--file", text="JSON of an Assistant, as `get --json` shows it; options below win.", exists=True
        ),
    ],
    "display_name": Annotated[str | None, _option("--display-name", text="A name for people.")],
    "description": Annotated[str | None, _option("--description", text="What the assistant is for.")],
    "instructions": Annotated[
        str | None,
        _option("--instructions", text="What a model that writes is told besides; @FILE reads it."),
    ],
    "language": Annotated[
        str | None, _option("--language", text="Language of prompt and fixed phrases, such as es.")
    ],
    "collections": Annotated[
        list[str] | None, _option("--collection", "-c", text="A collection to answer from; repeatable.")
    ],
    "model": Annotated[str | None, _option("--model", text="Name or alias of the model that answers.")],
    "sources": Annotated[int | None, _option("--sources", text="Passages that an answer may draw on.")],
    "keywords": Annotated[
        list[str] | None, _option("--keyword", text="Words that route a question here; repeatable.")
    ],
    "examples": Annotated[
        list[str] | None, _option("--example", text="A question that it is for; repeatable.")
    ],
    "is_default": Annotated[
        bool | None, _option("--default/--no-default", text="Whether it gets questions that fit no other.")
    ],
}


@dataclass(frozen=True, slots=True)
class Described:
    """What was given of an assistant."""

    assistant: Assistant
    paths: tuple[str, ...]
    """The fields that were given, for an update mask."""


def described(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above; it gets them as `given: Described`."""
    return with_options(command, "given", _OPTIONS, lambda _, given: read(**given))


def read(
    *,
    file: Path | None,
    instructions: str | None,
    model: str | None,
    sources: int | None,
    **plain: Any,
) -> Described:
    """Return what the options say; those that are lists replace the file's as a whole.

    Raises `CommandFailed` for a file that cannot be read or is not the JSON of an Assistant.
    """
    assistant, paths = _from_file(file) if file else (Assistant(), [])
    if instructions is not None:
        plain["instructions"] = _text_of(instructions)
    plain["collection_ids"] = plain.pop("collections")
    for name, value in plain.items():
        if value is None:
            continue
        if isinstance(value, list):
            assistant.ClearField(name)  # type: ignore[arg-type]  # a field's name
            getattr(assistant, name).extend(value)
        else:
            setattr(assistant, name, value)
        paths.append(name)
    if model is not None:
        assistant.generation.model = model
        paths += [] if "generation" in paths else ["generation.model"]
    if sources is not None:
        assistant.retrieval.top_k = sources
        paths += [] if "retrieval" in paths else ["retrieval.top_k"]
    return Described(assistant, tuple(dict.fromkeys(paths)))


def _from_file(file: Path) -> tuple[Assistant, list[str]]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CommandFailed.for_usage(f"cannot read {file} as JSON: {error}") from error
    if not isinstance(data, dict):
        raise CommandFailed.for_usage(f"{file} does not hold a JSON object")
    names = {each.json_name: each.name for each in Assistant.DESCRIPTOR.fields}
    named = {str(names.get(name, name)): value for name, value in data.items()}
    given = {name: value for name, value in named.items() if name not in OUTPUT_ONLY}
    assistant = Assistant()
    try:
        ParseDict(given, assistant)
    except ParseError as error:
        raise CommandFailed.for_usage(f"{file} is not an Assistant: {error}") from error
    return assistant, list(given)


def _text_of(value: str) -> str:
    """Return an option's text, or that of the file which `@FILE` names."""
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise CommandFailed.for_usage(f"cannot read {value[1:]}: {error}") from error
