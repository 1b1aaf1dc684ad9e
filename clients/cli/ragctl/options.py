"""The options of every command, and the decorator that gives them to it.

`ragctl --json search ...` and `ragctl search ... --json` mean the same: the root callback puts its options
into the context, and each command takes the same options again, which win.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from ragctl.connection import Address
from ragctl.errors import reported
from ragctl.session import DEFAULT_SERVER, Options, Session

P = ParamSpec("P")

PANEL = "Options of every command"
SERVER_VARIABLE = "RAGCTL_SERVER"


def _valid_server(value: str | None) -> str | None:
    if value is not None:
        try:
            Address.parse(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return value


RootServer = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        envvar=SERVER_VARIABLE,
        callback=_valid_server,
        help="Address of the server.",
    ),
]
CommandServer = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        callback=_valid_server,
        help=f"Address of the server. Default: {SERVER_VARIABLE} or {DEFAULT_SERVER}.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        help="Deadline of each call. Default: 30 s; streams have none, `ask` and `chat` 300 s.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="JSON on standard output (a line per element for streams); errors as JSON on standard error.",
        rich_help_panel=PANEL,
    ),
]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.", rich_help_panel=PANEL)]

_SHARED = {
    "shared_server": (CommandServer, None),
    "shared_timeout": (Timeout, None),
    "shared_json": (Json, False),
    "shared_no_color": (NoColor, False),
}


def command(function: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Return a typer command that hands `function` a session and reports what it raises.

    The first parameter of `function` is the session; the others are typer's, as ever.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def run(**arguments: Any) -> None:
        context: typer.Context = arguments.pop("context")
        root = context.find_root().obj
        options = (root if isinstance(root, Options) else Options()).overridden(
            server=arguments.pop("shared_server"),
            timeout_s=arguments.pop("shared_timeout"),
            json=arguments.pop("shared_json"),
            no_color=arguments.pop("shared_no_color"),
        )
        call: Callable[..., None] = function
        with Session(options) as session, reported(session):
            call(session, **arguments)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _SHARED.items()
        ),
    ]
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__module__ = function.__module__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it
    return run
