"""The filter AST: what a caller may ask of a document's metadata, as data, never as a string.

A filter is checked against the collection's fields once (`rag_server.query.filtering`) and then
translated by each engine. A row that lacks the field matches no comparison on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rag_server.domain.metadata import MetadataValue


class Operator(StrEnum):
    """Comparison operators; the ordering ones need a number or a timestamp."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field <operator> value`."""

    field: str
    operator: Operator
    value: MetadataValue


@dataclass(frozen=True, slots=True)
class Membership:
    """The field's value (or one of its list's values) is one of `values`."""

    field: str
    values: tuple[MetadataValue, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds on a number or a timestamp; a bound that is None is open."""

    field: str
    greater_than: MetadataValue | None = None
    greater_or_equal: MetadataValue | None = None
    less_than: MetadataValue | None = None
    less_or_equal: MetadataValue | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The document has the field."""

    field: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """A string field starts with `prefix`, compared code point by code point."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Bool:
    """All of `must`, none of `must_not`, and, where `should` is not empty, at least one of it."""

    must: tuple[Filter, ...] = ()
    should: tuple[Filter, ...] = ()
    must_not: tuple[Filter, ...] = ()


Filter = Comparison | Membership | Range | Exists | Prefix | Bool

SYSTEM_FIELDS = ("document_id", "media_type", "source_uri")
"""Fields every document has, all strings. Metadata fields are addressed as `metadata.<name>`."""
