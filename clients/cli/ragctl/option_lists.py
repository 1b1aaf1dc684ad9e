"""Lists of options that several commands share: a command takes what was given of one as a single value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def with_options(
    function: Callable[..., None],
    name: str,
    options: Mapping[str, Any],
    make: Callable[[Mapping[str, Any], dict[str, Any]], Any],
    defaults: Mapping[str, Any] | None = None,
) -> Callable[..., None]:
    """Return `function` with `options` in the place of its parameter `name`, as typer's parameters.

    Args:
        function: A command, or what another list has made of one. It takes keywords but for the session.
        name: The parameter that gets what `make` returns.
        options: Parameter to its annotation, in the order of `--help`.
        make: Makes the value of the command's other arguments and of the options that were given.
        defaults: Of the options whose default is not None.
    """
    own = inspect.signature(function, eval_str=True)

    def run(*session: Any, **arguments: Any) -> None:
        given = {option: arguments.pop(option) for option in options}
        function(*session, **{name: make(arguments, given)}, **arguments)

    shared = [
        inspect.Parameter(
            option,
            inspect.Parameter.KEYWORD_ONLY,
            default=(defaults or {}).get(option),
            annotation=annotation,
        )
        for option, annotation in options.items()
    ]
    kept = [each for each in own.parameters.values() if each.name != name]
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__module__ = function.__module__
    run.__signature__ = own.replace(parameters=[*kept, *shared])  # type: ignore[attr-defined]  # inspect reads it
    return run
