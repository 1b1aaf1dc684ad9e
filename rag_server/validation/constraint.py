"""The kinds of constraint that a field of the contract can have.

Each class stands for one fixed form in a field's comment; `rules.FIELD_RULES` says which field has
which. On a repeated field `Length` and `Pattern` hold for each item, `Items` for the list.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Required:
    """`Required.`: the field or oneof is present.

    That is a string that is not empty, a message or member that is set, an enum that is not UNSPECIFIED.
    """


@dataclass(frozen=True, slots=True)
class Range:
    """`Range: A to B.`: a number within both bounds, checked when it is set."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Length:
    """`Length: A to B code points.`: the length of a string; absence is not checked."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Items:
    """`Items: A to B.`: the number of items of a list or of entries of a map."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Size:
    """`Size: A to B bytes.`: the length of a bytes field; absence is not checked."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that the whole string matches; absence is not checked."""

    regex: str


@dataclass(frozen=True, slots=True)
class Default:
    """`Default: X.`: what the absent field means, see `defaults.value_or_default`."""

    value: float


@dataclass(frozen=True, slots=True)
class OutputOnly:
    """`Output only`: set by the server. Whatever a request holds there is ignored (AIP-203)."""


@dataclass(frozen=True, slots=True)
class Content:
    """A document's text, taken as it is: the only strings that may hold U+0000.

    A document handed in as text then fares as the same one handed in as bytes: the parser decides.
    """


Constraint = Required | Range | Length | Items | Size | Pattern | Default | OutputOnly | Content
