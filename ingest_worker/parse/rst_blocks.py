"""From docutils' tree to blocks. What docutils could not read is read from the source that it reports."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator

from docutils import nodes

from ingest_worker.parse.assembly import TextBlock
from ingest_worker.parse.markdown_table import table_blocks
from rag_server.domain.document import BlockKind

_MAX_LEVEL = 6
_MAX_NESTED_DIRECTIVES = 10
_ERROR_LEVEL = 3
"""Of docutils' messages: from here on something was left out of the tree."""
_DIRECTIVE = re.compile(
    r"\.\. +(?:\|[^|\n]+\| +)?(?P<name>[\w.+:-]+?)::(?:[ \t]+(?P<argument>[^\n]*))?(?:\n|\Z)"
)
_OPTION = re.compile(r":[\w-]+:(?: .*)?\Z")
_SILENT = (
    nodes.comment,
    nodes.target,
    nodes.substitution_definition,
    nodes.pending,
    nodes.meta,
    nodes.raw,
    nodes.transition,
)
_VERBATIM = (nodes.literal_block, nodes.doctest_block, nodes.math_block)
_LISTS = (
    nodes.bullet_list,
    nodes.enumerated_list,
    nodes.definition_list,
    nodes.field_list,
    nodes.option_list,
)

ParseTree = Callable[[str], nodes.document]


def tree_blocks(tree: nodes.Element, parse_tree: ParseTree) -> Iterator[TextBlock]:
    """Yield the blocks of `tree` in order; `parse_tree` reads the content of unknown directives."""
    yield from _Walk(parse_tree).blocks_of(tree, level=0)


class _Walk:
    def __init__(self, parse_tree: ParseTree) -> None:
        self._parse_tree = parse_tree
        self._nested = 0

    def blocks_of(self, parent: nodes.Element, level: int) -> Iterator[TextBlock]:
        for node in parent.children:
            yield from self._blocks(node, level)

    def _blocks(self, node: nodes.Node, level: int) -> Iterator[TextBlock]:
        if isinstance(node, _SILENT) or not isinstance(node, nodes.Element):
            return
        if isinstance(node, nodes.section):
            yield from self.blocks_of(node, level + 1)
        elif isinstance(node, nodes.title) and isinstance(node.parent, nodes.section):
            yield TextBlock(BlockKind.HEADING, _flat(node), min(max(level, 1), _MAX_LEVEL))
        elif isinstance(node, nodes.system_message):
            yield from self._unread(node, level)
        elif isinstance(node, _VERBATIM):
            yield TextBlock(BlockKind.CODE, node.astext())
        elif isinstance(node, nodes.table):
            yield from self._table(node, level)
        elif isinstance(node, _LISTS):
            yield TextBlock(BlockKind.LIST, "\n".join(self._list_lines(node, level)))
        elif isinstance(node, nodes.image):
            yield TextBlock(BlockKind.PARAGRAPH, str(node.get("alt", "")))
        elif isinstance(node, nodes.line_block):
            yield TextBlock(
                BlockKind.PARAGRAPH, "\n".join(line.astext() for line in node.findall(nodes.line))
            )
        elif isinstance(node, (nodes.footnote, nodes.citation)):
            said = " ".join(block.text for child in node.children[1:] for block in self._blocks(child, level))
            yield TextBlock(BlockKind.PARAGRAPH, f"[{node.children[0].astext()}] {said}")
        elif isinstance(node, nodes.TextElement):
            yield TextBlock(BlockKind.PARAGRAPH, node.astext())
        else:  # block quotes, admonitions, figures, topics, containers
            yield from self.blocks_of(node, level)

    def _unread(self, message: nodes.system_message, level: int) -> Iterator[TextBlock]:
        """Yield what stands in the part of the source that docutils reports as wrong or unknown."""
        sources = [child.astext() for child in message.children if isinstance(child, nodes.literal_block)]
        if message.get("level", 0) < _ERROR_LEVEL or not sources:
            return
        directive = _DIRECTIVE.match(sources[0])
        if directive is None:
            yield TextBlock(BlockKind.PARAGRAPH, sources[0])
            return
        argument = (directive["argument"] or "").strip()
        if argument:
            yield TextBlock(BlockKind.PARAGRAPH, f"{directive['name']}: {argument}")
        lines = textwrap.dedent(sources[0][directive.end() :]).split("\n")
        while lines and (not lines[0].strip() or _OPTION.match(lines[0])):
            lines.pop(0)
        content = "\n".join(lines)
        if self._nested >= _MAX_NESTED_DIRECTIVES:
            yield TextBlock(BlockKind.PARAGRAPH, content)
            return
        self._nested += 1
        yield from self.blocks_of(self._parse_tree(content), level)
        self._nested -= 1

    def _list_lines(self, node: nodes.Element, level: int) -> Iterator[str]:
        body: list[nodes.Element]
        for item in node.children:
            if isinstance(item, nodes.definition_list_item):
                terms = [child.astext() for child in item.children if not isinstance(child, nodes.definition)]
                mark = f"- {' : '.join(terms)}: "
                body = [child for child in item.children if isinstance(child, nodes.definition)]
            elif isinstance(item, (nodes.field, nodes.option_list_item)):
                mark = f"- {_flat(item.children[0])}: "
                body = [child for child in item.children[1:] if isinstance(child, nodes.Element)]
            else:
                mark, body = "- ", [item] if isinstance(item, nodes.Element) else []
            texts = [block.text for part in body for block in self._item_blocks(part, level)]
            lines = "\n".join(texts).split("\n")
            yield (mark + lines[0]).rstrip()
            yield from (f"  {line}" for line in lines[1:])

    def _item_blocks(self, part: nodes.Element, level: int) -> Iterator[TextBlock]:
        for block in self.blocks_of(part, level):
            text = " ".join(block.text.split()) if block.kind is BlockKind.PARAGRAPH else block.text
            yield TextBlock(block.kind, text)

    def _table(self, table: nodes.table, level: int) -> Iterator[TextBlock]:
        for child in table.children:
            if isinstance(child, nodes.title):
                yield TextBlock(BlockKind.PARAGRAPH, _flat(child))
        rows = [
            [
                " ".join(block.text for block in self.blocks_of(cell, level))
                for cell in row.children
                if isinstance(cell, nodes.entry)
            ]
            for row in table.findall(nodes.row)
        ]
        yield from table_blocks(rows)


def _flat(node: nodes.Node) -> str:
    return " ".join(node.astext().split())
