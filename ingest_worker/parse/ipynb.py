"""Jupyter notebooks (nbformat 3 and 4): Markdown cells as Markdown, code cells with their text outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble, paragraph_blocks
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.json import load_json
from ingest_worker.parse.json_values import Value
from ingest_worker.parse.markdown import heading_text, markdown_blocks
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_OUTPUT_CHARACTERS = 2_000
"""Kept of the outputs of one cell: logs of a training run would drown what the notebook says."""
_ANSI_SEQUENCE = re.compile("\x1b\\[[0-9;?]{0,30}[A-Za-z]")
_REPRESENTATION = re.compile(
    r"<[\w.]+(?: object)?(?: at 0x[0-9A-Fa-f]+| of [^<>\n]{0,100}|)>|<Figure [^<>\n]{0,100}>"
)
"""What Python shows of an object that has no text of its own, such as a figure."""
_DATA_URI = re.compile(r"\bdata:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*")

_IMAGE = re.compile(rb'("image/[\w.+-]{1,40}"\s{0,10}:\s{0,10})"[\w+/=\\]*+"')
"""An image output, in base64; a list of lines is left alone."""


class NotebookParser:
    """Parser of `application/x-ipynb+json`. Images and attachments are left out."""

    media_types = frozenset({MediaType.IPYNB})

    def parse(self, data: bytes) -> ParsedDocument:
        notebook = load_json(decode_text(_IMAGE.sub(rb'\1""', data)))  # they count as no text
        cells = _cells(notebook)
        blocks = [block for cell in cells for block in _cell_blocks(cell)]
        if not any(block.text.strip() for block in blocks):
            raise faults.has_no_text("it is a notebook whose cells are empty")
        metadata = _member(notebook, "metadata")
        title = _text(_member(metadata, "title")) or _first_heading(blocks)
        return assemble(blocks, title=title)


def _cells(notebook: Value) -> list[Mapping[str, Value]]:
    """Return the cells of all worksheets. Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) for other JSON."""
    worksheets = _member(notebook, "worksheets")  # nbformat 3
    holders = [notebook, *(worksheets if isinstance(worksheets, list) else [])]
    found = [cells for holder in holders if isinstance(cells := _member(holder, "cells"), list)]
    if not found:
        raise faults.corrupt("is JSON but no notebook: it has no cells")
    return [cell for cells in found for cell in cells if isinstance(cell, Mapping)]


def _cell_blocks(cell: Mapping[str, Value]) -> Iterator[TextBlock]:
    kind = cell.get("cell_type")
    source = normalize(_DATA_URI.sub("", _text(cell.get("source") or cell.get("input")))).rstrip()
    if kind == "markdown":
        for block in markdown_blocks(source):
            yield TextBlock(block.kind, source[block.span.start : block.span.end], block.level)
    elif kind == "heading":  # nbformat 3
        level = _text(cell.get("level"))
        yield TextBlock(BlockKind.HEADING, source, int(level) if level in set("123456") else 1)
    elif kind == "code":
        yield TextBlock(BlockKind.CODE, source)
        if output := _output(cell.get("outputs")):
            yield TextBlock(BlockKind.CODE, output)
    else:
        yield from paragraph_blocks(source)


def _output(outputs: Value) -> str:
    """Return the text that a code cell printed, returned or failed with, cut to a bound."""
    pieces: list[str] = []
    length = 0
    for output in outputs if isinstance(outputs, list) else ():
        text = _ANSI_SEQUENCE.sub("", _output_text(output)).rstrip()
        if not text.strip() or _REPRESENTATION.fullmatch(text.strip()):
            continue
        room = _OUTPUT_CHARACTERS - length
        pieces.append(text if len(text) <= room else f"{text[:room]} …")
        length += len(text)
        if length >= _OUTPUT_CHARACTERS:
            break
    return "\n".join(pieces)


def _output_text(output: Value) -> str:
    if _text(_member(output, "output_type")) in {"error", "pyerr"}:
        return f"{_text(_member(output, 'ename'))}: {_text(_member(output, 'evalue'))}"
    data = _member(output, "data")
    for holder, name in ((data, "text/markdown"), (data, "text/plain"), (output, "text")):
        if text := _text(_member(holder, name)):
            return text
    return ""


def _member(value: Value, name: str) -> Value:
    return value.get(name) if isinstance(value, Mapping) else None


def _text(value: Value) -> str:
    """Return a multi-line string, which notebooks store whole or as a list of lines."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _first_heading(blocks: Sequence[TextBlock]) -> str:
    return next((heading_text(block.text) for block in blocks if block.kind is BlockKind.HEADING), "")
