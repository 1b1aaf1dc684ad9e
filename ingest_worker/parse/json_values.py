"""Nested values (objects, arrays, scalars) as blocks: what belongs together stays in one passage.

An object becomes lines of `path: value`, its larger members sections under their names; an array of flat
records becomes a table, one of larger records a section for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, TypeGuard

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, paragraph_blocks
from ingest_worker.parse.markdown_table import table_blocks
from rag_server.domain.document import BlockKind

Value: TypeAlias = "str | bool | Sequence[Value] | Mapping[str, Value] | None"
"""Numbers are strings here: as they were written, `1.10` included."""

MAX_DEPTH = 100
_MAX_LEVEL = 6
_SMALL_NODES = 24
"""A value of at most so many nodes stays in the passage of the object that it belongs to."""
_LINE_CHARACTERS = 300
"""A longer string is a paragraph of its own."""
_PARAGRAPH_LINES = 50
_PATH_CHARACTERS = 300
"""Kept of a path, at its end: what nests deeply would repeat long paths for each of its leaves."""
_MAX_COLUMNS = 16
_CELL_CHARACTERS = 100
_MIN_FILLED_SHARE = 0.6
_LABEL_KEYS = ("title", "name", "headline", "subject", "label", "question", "id", "_id", "key")
_LABEL_CHARACTERS = 200


def value_blocks(value: Value, *, level: int = 1) -> Iterator[TextBlock]:
    """Yield the blocks of `value`; its sections have headings of `level` and below.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) where it nests deeper than `MAX_DEPTH`.
    """
    if isinstance(value, Mapping):
        yield from _object_blocks(value, level)
    elif is_array(value):
        yield from _array_blocks(value, level)
    else:
        yield from paragraph_blocks(said(value))


def record_blocks(record: Value, number: int, *, level: int = 1) -> Iterator[TextBlock]:
    """Yield `record`, the `number`th of its kind, as a section of its own."""
    if level <= _MAX_LEVEL:
        yield TextBlock(BlockKind.HEADING, label_of(record) or f"Record {number}", level)
    yield from value_blocks(record, level=level + 1)


def label_of(value: Value) -> str:
    """Return what an object calls itself, by the usual names for that, or an empty string."""
    if isinstance(value, Mapping):
        named = {key.lower(): member for key, member in value.items()}
        for key in _LABEL_KEYS:
            label = named.get(key)
            if isinstance(label, str) and label.strip() and len(label) <= _LABEL_CHARACTERS:
                return " ".join(label.split())
    return ""


def is_array(value: Value) -> TypeGuard[Sequence[Value]]:
    """Whether `value` is an array: strings are sequences too."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def said(value: Value) -> str:
    """Return the text of a scalar; nothing for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""


def _object_blocks(members: Mapping[str, Value], level: int) -> Iterator[TextBlock]:
    lines = _Lines()
    sections: list[tuple[str, Value]] = []
    for key, member in members.items():
        if level <= _MAX_LEVEL and not _is_small(member):
            sections.append((key, member))
        else:
            for path, text, is_list in _leaves(key, member):
                yield from lines.add(path, text, is_list=is_list)
    yield from lines.flush()
    for key, member in sections:
        yield TextBlock(BlockKind.HEADING, key, level)
        yield from value_blocks(member, level=level + 1)


def _array_blocks(items: Sequence[Value], level: int) -> Iterator[TextBlock]:
    if all(_is_scalar(item) for item in items):
        yield TextBlock(BlockKind.LIST, _listed(items))
    elif rows := _table_rows(items):
        yield from table_blocks(rows)
    else:
        for number, item in enumerate(items, start=1):
            if _is_small(item) or level > _MAX_LEVEL:
                lines = _Lines()
                for path, text, is_list in _leaves("", item):
                    yield from lines.add(path, text, is_list=is_list)
                yield from lines.flush()
            else:
                yield from record_blocks(item, number, level=level)


class _Lines:
    """Gathers lines into paragraphs of bounded length."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, path: str, text: str, *, is_list: bool) -> Iterator[TextBlock]:
        """Take one line; yield what is complete. Texts that are no line become blocks of their own."""
        if is_list:
            yield from self.flush()
            yield TextBlock(BlockKind.LIST, f"{path}:\n{text}" if path else text)
        elif len(text) > _LINE_CHARACTERS or "\n" in text:
            yield from self.flush()
            yield from paragraph_blocks(_labelled(path, text))
        else:
            self._lines.append(_labelled(path, text))
            if len(self._lines) >= _PARAGRAPH_LINES:
                yield from self.flush()

    def flush(self) -> Iterator[TextBlock]:
        """Yield the lines at hand, if any."""
        if self._lines:
            yield TextBlock(BlockKind.PARAGRAPH, "\n".join(self._lines))
            self._lines = []


def _leaves(path: str, value: Value) -> Iterator[tuple[str, str, bool]]:
    """Yield path, text and whether it is a list for each leaf with text, in order, without recursion."""
    stack: list[tuple[str, Value, int]] = [(path, value, 0)]
    while stack:
        path, value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise faults.corrupt("nests its values too deeply")
        if isinstance(value, Mapping):
            below = [(_joined(path, key), member, depth + 1) for key, member in value.items()]
            stack.extend(reversed(below))
        elif is_array(value):
            if not all(_is_scalar(item) for item in value):
                stack.extend((path, _flat(item), depth + 1) for item in reversed(value))
                continue
            texts = [text for item in value if (text := said(item).strip())]
            if sum(map(len, texts)) + 2 * len(texts) > _LINE_CHARACTERS or any(
                "\n" in text for text in texts
            ):
                yield path, _listed(texts), True
            elif texts:
                yield path, ", ".join(texts), False
        elif text := said(value).strip():
            yield path, text, False


def _flat(item: Value) -> Value:
    """Return a small record of scalars as one line, so that what belongs together stays on it."""
    if isinstance(item, Mapping) and len(item) <= _SMALL_NODES and all(map(_is_scalar, item.values())):
        line = "; ".join(f"{key}: {text}" for key, member in item.items() if (text := said(member).strip()))
        return line if len(line) <= _LINE_CHARACTERS else item
    return item


def _table_rows(items: Sequence[Value]) -> list[list[str]]:
    """Return header and rows where `items` are flat records of the same kind, or nothing."""
    columns: dict[str, None] = {}
    filled = 0
    for item in items:
        if not isinstance(item, Mapping) or not all(map(_is_cell, item.values())):
            return []
        columns.update(dict.fromkeys(item))
        filled += len(item)
        if len(columns) > _MAX_COLUMNS:
            return []
    if len(items) < 2 or filled < max(_MIN_FILLED_SHARE * len(columns) * len(items), 2 * len(items)):  # noqa: PLR2004
        return []
    rows = [[said(item.get(column)) for column in columns] for item in items if isinstance(item, Mapping)]
    return [list(columns), *rows]


def _is_cell(value: Value) -> bool:
    text = said(value)
    return _is_scalar(value) and len(text) <= _CELL_CHARACTERS and "\n" not in text


def _is_scalar(value: Value) -> bool:
    return not isinstance(value, Mapping) and not is_array(value)


def _is_small(value: Value) -> bool:
    """Whether `value` has at most `_SMALL_NODES` nodes; looks at no more of it than that."""
    stack = [value]
    count = 0
    while stack and count <= _SMALL_NODES:
        value = stack.pop()
        count += 1
        if isinstance(value, Mapping):
            stack.extend(list(value.values())[: _SMALL_NODES + 1])
        elif is_array(value):
            stack.extend(value[: _SMALL_NODES + 1])
    return count <= _SMALL_NODES


def _listed(items: Sequence[Value]) -> str:
    return "\n".join(f"- {text}" for item in items if (text := said(item).strip()))


def _labelled(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}"[-_PATH_CHARACTERS:] if path else key
