"""Filters as Milvus expressions: the only place that writes one.

Milvus Lite takes no expression templates, so values are written into the text. Three rules make
that safe: a string is quoted here and nowhere else, field names are escaped to letters and digits,
and everything else is a number or a word of ours.

Comparisons with a missing JSON value are unknown, not false, in Milvus Lite, and have changed
between Milvus servers. Wherever that matters (below a `must_not`, and for `!=`) the comparison is
therefore guarded by `exists`, which is always true or false: `must_not` is then the exact
complement, and a row that lacks the field matches a `must_not` of any comparison on it.

A prefix is a range, since the `like` of Milvus Lite cannot escape `%` and `_`; both engines compare
strings by code point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from rag_server.backends.milvus.escape import escape, escape_all
from rag_server.domain.filter import (
    SYSTEM_FIELDS,
    Bool,
    Comparison,
    Exists,
    Filter,
    Membership,
    Operator,
    Prefix,
    Range,
)
from rag_server.domain.metadata import MetadataValue, timestamp_us
from rag_server.domain.stored import ANY, Scope
from rag_server.errors import InvalidArgument

MAX_DEPTH = 32
"""Nested `Bool`s; the recursive parser of Milvus Lite fails at some more."""
_METADATA_PREFIX = "metadata."
_TRUE = 'id != ""'
_FALSE = 'id == ""'
_INT64 = 2**63
_SURROGATES = range(0xD800, 0xE000)
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def compile_filter(filter: Filter) -> str:
    """Return `filter` as an expression. Raises `InvalidArgument` for what no engine can ask."""
    return _compile(filter, negated=False, depth=1)


def tenant_scope(tenant_id: str, scope: Scope = ANY) -> str:
    """Return the expression for the rows of a tenant that are in `scope`."""
    terms = [f"tenant_id == {_quote(tenant_id)}"]
    if scope.chunk_ids is not None:
        terms.append(id_in(scope.chunk_ids))
    # the conditions on columns come first: a server evaluates the JSON of fewer rows then
    terms += [_contains(phrase) for phrase in map(escape_all, scope.phrases) if phrase]
    terms += [f"not {_contains(phrase)}" for phrase in map(escape_all, scope.excluded) if phrase]
    if scope.filter is not None:
        terms.append(compile_filter(scope.filter))
    return " and ".join(terms)


def id_in(chunk_ids: Sequence[str]) -> str:
    """Return the expression for the rows of `chunk_ids`."""
    return f"id in [{', '.join(map(_quote, chunk_ids))}]" if chunk_ids else _FALSE


def after(tenant_id: str, last_id: str) -> str:
    """Return the expression for the rows of a tenant whose id is above `last_id`."""
    return f"tenant_id == {_quote(tenant_id)} and id > {_quote(last_id)}"


def _contains(phrase: str) -> str:
    """Return the expression for rows whose lexemes contain those of `phrase`, escaped, in a row.

    Lexemes are separated by one space, and no spelling of one holds a space, `%` or `_`.
    """
    patterns = (f"{phrase} %", f"% {phrase}", f"% {phrase} %")
    choices = " or ".join(f'lexemes like "{pattern}"' for pattern in patterns)
    return f'(lexemes == "{phrase}" or {choices})'


def document_scope(
    tenant_id: str, document_id: str, *, revision: int | None = None, before_revision: int | None = None
) -> str:
    """Return the expression for a document's rows: all, those of one revision, or those older than one."""
    terms = [f"tenant_id == {_quote(tenant_id)}", f"document_id == {_quote(document_id)}"]
    if revision is not None:
        terms.append(f"document_revision == {int(revision)}")
    if before_revision is not None:
        terms.append(f"document_revision < {int(before_revision)}")
    return " and ".join(terms)


def page_scope(tenant_id: str, document_id: str, revision: int, *, first: int, limit: int) -> str:
    """Return the expression for `limit` chunks of one document revision from ordinal `first` on."""
    scope = document_scope(tenant_id, document_id, revision=revision)
    return f"{scope} and ordinal >= {int(first)} and ordinal < {int(first) + int(limit)}"


def _compile(node: Filter, *, negated: bool, depth: int) -> str:
    match node:
        case Bool():
            return _bool(node, negated=negated, depth=depth)
        case Exists(field):
            return _exists(field)
        case Comparison(field, operator, value):
            guarded = negated or operator is Operator.NOT_EQUAL
            return _scalar(field, [f"{{}} {operator} {_literal(field, value)}"], guarded=guarded)
        case Range(field):
            return _range(node, negated=negated)
        case Prefix(field, prefix):
            return _scalar(field, _prefix_bounds(field, prefix), guarded=negated)
        case Membership():
            return _membership(node, negated=negated)


def _bool(node: Bool, *, negated: bool, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise InvalidArgument.for_field(
            "filter", f"nested deeper than {MAX_DEPTH} levels", reason="FILTER_TOO_DEEP"
        )
    terms = [_compile(child, negated=negated, depth=depth + 1) for child in node.must]
    if node.should:
        choices = (_compile(child, negated=negated, depth=depth + 1) for child in node.should)
        terms.append(f"({' or '.join(choices)})")
    if node.must_not:
        refused = (_compile(child, negated=True, depth=depth + 1) for child in node.must_not)
        terms.append(f"not ({' or '.join(refused)})")
    return f"({' and '.join(terms)})" if terms else f"({_TRUE})"


def _range(node: Range, *, negated: bool) -> str:
    bounds = {
        ">": node.greater_than,
        ">=": node.greater_or_equal,
        "<": node.less_than,
        "<=": node.less_or_equal,
    }
    templates = [f"{{}} {sign} {_literal(node.field, v)}" for sign, v in bounds.items() if v is not None]
    if not templates:
        raise InvalidArgument.for_field("filter.range", "needs a bound")
    return _scalar(node.field, templates, guarded=negated)


def _membership(node: Membership, *, negated: bool) -> str:
    if not node.values:
        return f"({_FALSE})"
    literals = [_literal(node.field, value) for value in node.values]
    if node.field in SYSTEM_FIELDS:
        return f"({node.field} in [{', '.join(literals)}])"
    name = _metadata_name(node.field)
    path = f'metadata["value"]["{name}"]'
    scalar = f"({' or '.join(f'{path} == {literal}' for literal in literals)})"
    if negated:
        scalar = f"(exists {path} and {scalar})"
    strings = [literal for literal, v in zip(literals, node.values, strict=True) if isinstance(v, str)]
    if not strings:
        return scalar
    return f'({scalar} or json_contains_any(metadata["list"]["{name}"], [{", ".join(strings)}]))'


def _exists(field: str) -> str:
    if field in SYSTEM_FIELDS:
        return f"({_TRUE})"
    return f'json_contains(metadata["names"], "{_metadata_name(field)}")'


def _scalar(field: str, templates: Sequence[str], *, guarded: bool) -> str:
    """Join `templates`, each with a hole for the column or JSON path of `field`."""
    if field in SYSTEM_FIELDS:
        path, guard = field, []
    else:
        path = f'metadata["value"]["{_metadata_name(field)}"]'
        guard = [f"exists {path}"] if guarded else []
    # replaced rather than formatted: a literal may hold braces, and the hole always comes first
    return f"({' and '.join([*guard, *(t.replace('{}', path, 1) for t in templates)])})"


def _prefix_bounds(field: str, prefix: str) -> list[str]:
    bounds = [f"{{}} >= {_literal(field, prefix)}"]
    after = _first_after(prefix)
    if after:
        bounds.append(f"{{}} < {_quote(after)}")
    return bounds


def _first_after(prefix: str) -> str:
    """Return the smallest string above all that start with `prefix`; empty when there is none."""
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return ""
    following = ord(head[-1]) + 1
    return head[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def _metadata_name(field: str) -> str:
    name = field.removeprefix(_METADATA_PREFIX)
    if not name or name == field:
        raise InvalidArgument.for_field("filter", f"no field {field!r}", reason="UNKNOWN_FILTER_FIELD")
    return escape(name)


def _literal(field: str, value: MetadataValue) -> str:
    if field in SYSTEM_FIELDS and not isinstance(value, str):
        raise InvalidArgument.for_field("filter", f"{field} takes a string", reason="FILTER_TYPE_MISMATCH")
    match value:
        case bool():  # before int: bool is a subclass of it
            return "true" if value else "false"
        case int():
            if not -_INT64 <= value < _INT64:
                raise InvalidArgument.for_field("filter", "an integer outside 64 bits")
            return str(value)
        case float():
            if not math.isfinite(value):
                raise InvalidArgument.for_field("filter", "a number that is not finite")
            return repr(value)
        case datetime():
            return str(timestamp_us(value))
        case str():
            if any((c < " " and c not in "\t\n\r") or ord(c) in _SURROGATES for c in value):
                raise InvalidArgument.for_field("filter", "a string with control characters")
            return _quote(value)
        case _:
            raise InvalidArgument.for_field(
                "filter", "a list is compared by membership", reason="FILTER_TYPE_MISMATCH"
            )


def _quote(text: str) -> str:
    """Quote a string; only escapes that both expression parsers know are written."""
    return f'"{text.translate(_ESCAPES)}"'
