"""JSON (RFC 8259), JSON Lines and Jupyter notebooks, without reading more of them than has to be.

The start of a text is run through the tokens of JSON and a stack of its open brackets: what fits is JSON
as far as it was looked at, in one pass, with nothing built in memory.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""[ \t\r\n]*+(?:(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)|(?P<colon>:)"""
    r"""|(?P<string>"(?>[^"\\\x00-\x1f]|\\["\\/bfnrtu])*+")"""
    r"""|(?P<scalar>true|false|null|NaN|-?(?:0|[1-9]\d{0,400})(?:\.\d{1,400})?(?:[eE][+-]?\d{1,9})?))"""
)
_MAX_DEPTH = 1000
_LINES = 20
_MIN_LINES = 2
_NOTEBOOK_SIGN = b'"nbformat"'
_FOLLOWS = {
    # After what: what may come. A value is a scalar, a string or an opening bracket.
    "start": {"open"},
    "[": {"open", "string", "scalar", "]"},
    "{": {"string", "}"},
    "key": {"colon"},
    "colon": {"open", "string", "scalar"},
    "value": {"comma", "]", "}"},
    "comma in [": {"open", "string", "scalar"},
    "comma in {": {"string"},
}


def is_json(sample: str, *, is_whole: bool) -> bool:
    """Whether `sample`, the start of a text or all of it, is a JSON object or array as far as it goes."""
    stack: list[str] = []
    state, position = "start", 0
    while token := _TOKEN.match(sample, position):
        position = token.end()
        kind = token.lastgroup or ""
        sign = token[kind]
        if (sign if kind == "close" else kind) not in _FOLLOWS[state]:
            return False
        if kind == "open":
            stack.append(sign)
            state = sign
            if len(stack) > _MAX_DEPTH:
                return False
        elif kind == "close":
            if stack.pop() != {"]": "[", "}": "{"}[sign]:
                return False
            if not stack:
                return not sample[position:].strip(" \t\r\n")
            state = "value"
        elif kind == "comma":
            state = f"comma in {stack[-1]}"
        elif kind == "string" and state in {"{", "comma in {"}:
            state = "key"
        else:
            state = "colon" if kind == "colon" else "value"
    # Nothing fits here: the sample ends within a token, which is short save for strings.
    rest = sample[position:].lstrip(" \t\r\n")
    return bool(stack) and not is_whole and (rest.startswith('"') or len(rest) < _MAX_DEPTH)


def is_json_lines(sample: str, *, is_whole: bool) -> bool:
    """Whether the first lines of `sample` are one JSON object each, and more than one."""
    lines = sample.split("\n")
    if not is_whole:
        lines.pop()
    filled = [line for line in lines if line.strip()][:_LINES]
    return len(filled) >= _MIN_LINES and all(
        line.lstrip().startswith("{") and is_json(line, is_whole=True) for line in filled
    )


def is_notebook(data: bytes) -> bool:
    """Whether `data`, which is JSON, is a Jupyter notebook: `nbformat` may stand at its very end."""
    if _NOTEBOOK_SIGN not in data:
        return False
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or type(found.get("nbformat")) is not int:
        return False
    return isinstance(found.get("cells", found.get("worksheets")), list)
