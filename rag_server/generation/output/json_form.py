"""Answers that are a JSON value which a schema describes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from rag_server.domain.document import Span
from rag_server.generation.output.bounded_validator import (
    SCHEMA_FORMATS,
    BoundedValidator,
    TooMuchWork,
    first_error,
)
from rag_server.generation.output.form import Clean, FormError, FormUnusable

_DIALECTS: Final = frozenset(
    {"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"}
)
_PROBES: Final[tuple[object, ...]] = (None, False, 0, "", [], {}, [None], {"a": None})
"""Values that a schema which refers to itself without end cannot tell anything about."""
_FENCE: Final = re.compile(r"\s*```[A-Za-z]*[ \t]*\r?\n(.*)\n[ \t]*```\s*", re.DOTALL)
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*+:)?+')
_SHOWN: Final = 200


class _Ambiguous(ValueError):
    """JSON that two readers may take for different values; the text says why."""


class JsonForm:
    """A `Form` by a schema."""

    def __init__(self, schema_text: str) -> None:
        """Read a schema.

        Raises:
            FormUnusable: `OUTPUT_SCHEMA_INVALID`.
        """
        schema = _schema_of(schema_text)
        try:
            self._validator = _validator_of(schema)
        except (TooMuchWork, RecursionError) as error:
            raise _unusable("is nested too deep, refers to itself without end or takes too long") from error

    def accept(self, text: str, clean: Clean) -> str:
        """Return the JSON text, as the model wrote it where nothing had to be taken out."""
        fenced = _FENCE.fullmatch(text)
        written = (fenced.group(1) if fenced else text).strip()
        try:
            value = _parsed(written)
            self._check(value)
            cleaned = _cleaned(value, clean)
            if cleaned != value:
                self._check(cleaned)
        except _Ambiguous as ambiguous:
            raise FormError(f"it {ambiguous}") from ambiguous
        except (ValueError, RecursionError) as error:
            raise FormError("it is not JSON") from error
        # Escapes could hide from whoever looks at the text what stands in it.
        return written if cleaned == value and not re.search(r"\\[u/]", written) else _written(cleaned)

    def holds(self, text: str) -> bool:
        """Whether `text` is JSON that the schema describes."""
        try:
            self._check(_parsed(text))
        except (FormError, ValueError, RecursionError):
            return False
        return True

    def claims(self, text: str) -> Sequence[tuple[Span, str]]:
        """Return the strings that are values, without their quotes."""
        return [
            (Span(match.start(1), match.end(1)), json.loads(f'"{match.group(1)}"'))
            for match in _STRING.finditer(text)
            if not match.group(2)
        ]

    def _check(self, value: Any) -> None:
        try:
            error = first_error(self._validator, value)
        except TooMuchWork as much:
            raise FormError("it takes too long to check") from much
        if error is not None:
            raise FormError(
                f"at {error.json_path[:_SHOWN]} it breaks the schema's {error.validator or False!r}"
            )


def _schema_of(text: str) -> dict[str, Any]:
    """Return the schema, without the name of its dialect."""
    try:
        schema = _read(text)
        if _storable(schema) != schema:
            raise _unusable("has half of a surrogate pair, which is no character")
    except _Ambiguous as ambiguous:
        raise _unusable(str(ambiguous)) from ambiguous
    except (ValueError, RecursionError) as error:
        raise _unusable("is not JSON") from error
    if not isinstance(schema, dict):
        raise _unusable("is not a JSON object")
    if schema.pop("$schema", next(iter(_DIALECTS))) not in _DIALECTS:
        raise _unusable("names a dialect in `$schema` that is not Draft 2020-12")
    return schema


def _validator_of(schema: dict[str, Any]) -> Any:
    meta = BoundedValidator(
        Draft202012Validator.META_SCHEMA, registry=REGISTRY, format_checker=SCHEMA_FORMATS
    )
    error = first_error(meta, schema)
    if error is not None:
        raise _unusable(f"is no JSON Schema of Draft 2020-12: {_complaint(error)}")
    registry: Registry[Any] = Registry()  # which fetches nothing
    resource = DRAFT202012.create_resource(schema)
    resolver = registry.resolver_with_root(resource)
    keywords = _walk(resource, resolver, depth=0)
    if {"unevaluatedProperties", "patternProperties"} <= keywords:
        raise _unusable("has both `unevaluatedProperties` and `patternProperties`, which is not supported")
    validator = BoundedValidator(schema, registry=registry)
    for probe in _PROBES:
        first_error(validator, probe)
    return validator


def _complaint(error: Any) -> str:
    """Return what is wrong with a caller's own schema."""
    what = "is no regular expression of RE2" if error.validator == "format" else error.message
    return f"at {error.json_path[:_SHOWN]}: {what[:_SHOWN]}"


def _walk(resource: Any, resolver: Any, *, depth: int) -> set[str]:
    """Return the keywords of a schema and of all within it, whose references must lead somewhere in it."""
    contents = resource.contents
    if not isinstance(contents, dict):
        return set()
    if depth and "$schema" in contents:
        raise _unusable("has a `$schema` that is not at its top")
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in contents:
            try:
                resolver.lookup(contents[keyword])
            except Unresolvable as error:
                raise _unusable(
                    f"refers to {str(contents[keyword])[:_SHOWN]!r}, which is not in it; nothing is fetched"
                ) from error
    keywords = set(contents)
    for each in resource.subresources():
        keywords |= _walk(each, resolver.in_subresource(each), depth=depth + 1)
    return keywords


def _parsed(text: str) -> Any:
    """Return the value; text without lone surrogates, which UTF-8 cannot write. Raises as `_read` does."""
    return _storable(_read(text))


def _read(text: str) -> Any:
    """Return the value, which JSON can write again.

    Raises `ValueError`; of it `_Ambiguous`, since what is checked and cleaned is one reading of the text, and
    what the caller gets is the text.
    """
    return json.loads(
        text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object_of
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Ambiguous("has a number beyond those that readers of JSON can hold")
    return value


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise _Ambiguous("has an object with a member twice")
    return value


def _storable(value: Any) -> Any:
    return _mapped(value, lambda text: text.encode("utf-8", "replace").decode("utf-8"))


def _cleaned(value: Any, clean: Clean) -> Any:
    for name in _names(value):
        if clean(name) != name:
            raise FormError("the name of a member has a link or markup")
    return _mapped(value, clean)


def _mapped(value: Any, change: Clean) -> Any:
    """Return a JSON value with its strings changed, names of members too where that makes a difference."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(each, change) for each in value]
    if isinstance(value, dict):
        return {change(name): _mapped(each, change) for name, each in value.items()}
    return value


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _names(each)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _unusable(problem: str) -> FormUnusable:
    return FormUnusable("json_schema", problem, "OUTPUT_SCHEMA_INVALID")
