"""Blocks of an element tree, in HTML's vocabulary or in that of trafilatura's results."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from ingest_worker.parse.assembly import TextBlock
from ingest_worker.parse.html_tables import captions, is_layout, table_rows
from ingest_worker.parse.markdown_table import table_blocks
from rag_server.domain.document import BlockKind

_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "head"}
_LISTS = {"ul", "ol", "dl", "menu", "list"}
_BREAKS = {"br", "lb"}
_BOXES = {
    *(
        "html",
        "body",
        "div",
        "p",
        "section",
        "article",
        "main",
        "header",
        "footer",
        "nav",
        "aside",
        "form",
        "center",
    ),
    *(
        "fieldset",
        "figure",
        "figcaption",
        "blockquote",
        "quote",
        "address",
        "details",
        "summary",
        "dialog",
        "hgroup",
    ),
    *("li", "dt", "dd", "item", "td", "th", "tr", "cell", "row", "caption", "hr", "ab", "legend"),
}
"""Elements whose text does not run on into what stands before and after them."""


def html_blocks(root: etree._Element) -> list[TextBlock]:
    """Return the blocks under `root` in document order. Raises `RecursionError` for absurd nesting."""
    walk = _Walk()
    walk.visit(root)
    walk.flush()
    return walk.blocks


class _Walk:
    """One pass over a tree: inline text gathers until the next box begins or ends."""

    def __init__(self) -> None:
        self.blocks: list[TextBlock] = []
        self._inline: list[str] = []

    def flush(self) -> None:
        self._add(BlockKind.PARAGRAPH, _collapsed(self._inline))
        self._inline = []

    def visit(self, element: etree._Element) -> None:
        tag = element.tag if isinstance(element.tag, str) else ""
        if tag in _BREAKS:
            self._inline.append("\n")
        elif tag in _HEADINGS:
            self.flush()
            name = element.get("rend", "") if tag == "head" else tag
            level = int(name[1]) if name[1:] in {"1", "2", "3", "4", "5", "6"} else 2
            self._add(BlockKind.HEADING, " ".join(_collapsed(_inline_text(element)).split()), level)
        elif tag in _LISTS:
            self.flush()
            self._add(BlockKind.LIST, "\n".join(_list_lines(element, 0)))
        elif tag == "table":
            self.flush()
            self._visit_table(element)
        elif tag == "pre" or (tag == "code" and "\n" in "".join(element.itertext())):
            self.flush()
            self._add(BlockKind.CODE, _verbatim(element))
        elif tag:
            self._visit_content(element, is_box=tag in _BOXES)

    def _visit_table(self, element: etree._Element) -> None:
        if is_layout(element):
            self._visit_content(element, is_box=True)
            return
        for caption in captions(element):
            self._add(BlockKind.PARAGRAPH, _line(caption))
        self.blocks += table_blocks(table_rows(element, _line))

    def _visit_content(self, element: etree._Element, *, is_box: bool) -> None:
        if is_box:
            self.flush()
        self._inline.append(element.text or "")
        for child in element:
            self.visit(child)
            self._inline.append(child.tail or "")
        if is_box:
            self.flush()

    def _add(self, kind: BlockKind, text: str, level: int = 0) -> None:
        if text.strip():
            self.blocks.append(TextBlock(kind, text, level))


def _inline_text(element: etree._Element) -> Iterator[str]:
    """Yield the text of `element`, with a line feed for each break and around each box."""
    yield element.text or ""
    for child in element:
        tag = child.tag
        is_apart = tag in _BOXES or tag in _BREAKS or tag in _LISTS or tag == "table"
        if is_apart:
            yield "\n"
        if isinstance(tag, str):
            yield from _inline_text(child)
        if is_apart:
            yield "\n"
        yield child.tail or ""


def _collapsed(pieces: Iterator[str] | list[str]) -> str:
    """Join text as a browser shows it: runs of white space are one space, only breaks make lines."""
    lines = "".join(piece if piece == "\n" else piece.replace("\n", " ") for piece in pieces).split("\n")
    return "\n".join(line for line in (" ".join(line.split()) for line in lines) if line)


def _verbatim(element: etree._Element) -> str:
    """Return preformatted text with its own line ends and indentation."""
    text = "".join("\n" if piece.tag in _BREAKS else piece.text or "" for piece in _text_nodes(element))
    return text.strip("\n").rstrip()


def _text_nodes(element: etree._Element) -> Iterator[etree._Element]:
    """Yield an element for each run of text in `element`, in order, its text in `text`."""
    yield element
    for child in element:
        yield from _text_nodes(child)
        if child.tail:
            tail = etree.Element("tail")
            tail.text = child.tail
            yield tail


def _list_lines(element: etree._Element, depth: int) -> Iterator[str]:
    """Yield one line for each item, nested lists indented under theirs."""
    indent = "  " * depth
    for item in element:
        if item.tag in _LISTS:
            yield from _list_lines(item, depth + 1)
        elif isinstance(item.tag, str):
            nested = [child for child in item if child.tag in _LISTS]
            said = " ".join(_collapsed(_own_text(item)).split())
            if said:
                yield f"{indent}- {said}"
            for inner in nested:
                yield from _list_lines(inner, depth + 1)
        if item.tail and item.tail.strip():
            yield indent + " ".join(item.tail.split())


def _own_text(item: etree._Element) -> Iterator[str]:
    """Yield the text of a list item without the lists that are its children."""
    yield item.text or ""
    for child in item:
        is_apart = child.tag in _BOXES or child.tag in _BREAKS or child.tag in _LISTS
        yield "\n" if is_apart else ""
        if isinstance(child.tag, str) and child.tag not in _LISTS:
            yield from _inline_text(child)
        yield "\n" if is_apart else ""
        yield child.tail or ""


def _line(element: etree._Element) -> str:
    """Return the text of `element` on one line."""
    return " ".join(_collapsed(_inline_text(element)).split())
