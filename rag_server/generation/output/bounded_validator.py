"""A validator of JSON Schema, Draft 2020-12, that nothing can hold up and that fetches nothing.

The keywords are those of the package jsonschema, with three differences. Patterns are RE2's, so that they
match in linear time. `uniqueItems` compares canonical forms instead of each item with each other. And every
keyword that is looked at is counted: a schema whose references multiply ends at `MAX_STEPS`, one that refers
to itself without end at the depth that Python allows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from rag_server.generation.output.linear_regex import LinearRegex, RegexUnusable

MAX_STEPS: Final = 100_000
"""Keywords that one validation looks at; about a second of work."""

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]

_steps: ContextVar[int] = ContextVar("steps")


class TooMuchWork(Exception):
    """The validation would take too long, or has no end."""


_regex = lru_cache(maxsize=256)(LinearRegex)


def first_error(validator: Any, value: Any) -> ValidationError | None:
    """Return what is wrong with `value`, or None. Blocks.

    Raises:
        TooMuchWork: It cannot be told within the bounds.
    """
    token = _steps.set(0)
    try:
        return next(iter(validator.iter_errors(value)), None)
    except (RecursionError, OverflowError) as error:
        raise TooMuchWork from error
    finally:
        _steps.reset(token)


def _counted(keyword: Keyword) -> Keyword:
    def look(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        count = _steps.get(0) + 1
        if count > MAX_STEPS:
            raise TooMuchWork
        _steps.set(count)
        yield from keyword(validator, rule, value, schema) or ()

    return look


def _pattern(validator: Any, rule: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "string") and not _regex(rule).is_found_in(value):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, rules: Mapping[str, Any], value: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    for pattern, subschema in rules.items():
        for name, each in value.items():
            if _regex(pattern).is_found_in(name):
                yield from validator.descend(each, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, each in value.items():
        if name in known or any(_regex(pattern).is_found_in(name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError("has another member")
        else:
            yield from validator.descend(each, rule, path=name)


def _unique_items(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if rule and validator.is_type(value, "array") and len({_canonical(each) for each in value}) < len(value):
        yield ValidationError("has repetitions")


def _canonical(value: Any) -> str:
    """Return one text for what JSON Schema takes for the same: `1` and `1.0`, but not `1` and `true`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(name)}:{_canonical(value[name])}' for name in sorted(value))}}}"
    return json.dumps(value)


_OWN: Final[dict[str, Keyword]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
BoundedValidator: Final = extend(
    Draft202012Validator,
    {name: _counted(keyword) for name, keyword in {**Draft202012Validator.VALIDATORS, **_OWN}.items()},
)
"""The class of validators; `format` is an annotation, as the specification has it."""

SCHEMA_FORMATS: Final = FormatChecker(formats=())
"""For schemas themselves: their patterns are RE2's."""


def _is_regex(value: object) -> bool:
    if isinstance(value, str):
        _regex(value)
    return True


SCHEMA_FORMATS.checks("regex", raises=RegexUnusable)(_is_regex)
