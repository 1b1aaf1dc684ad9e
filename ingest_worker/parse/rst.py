"""reStructuredText: blocks by docutils, inline marks by a scan of their own, Sphinx's directives included.

docutils reads a document into a tree of blocks; no transform runs on it, no file is opened, nothing printed.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from docutils import frontend, nodes, utils
from docutils.parsers import rst
from docutils.parsers.rst import states

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import assemble, paragraph_blocks
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.limits import MAX_CHARACTERS
from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.rst_blocks import tree_blocks
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_MAX_STRUCTURED_CHARACTERS = 1_000_000
"""Five times the longest file of Python's documentation. docutils takes about a second for 100 kB, so that a
longer text is read as paragraphs."""
_INERT = re.compile(r"^([ \t]*\.\. )(role|default-role|include|raw|contents|date)::", re.MULTILINE)
"""Directives that change the parser for the documents after this one, read files or hold no text."""
_MARK = re.compile(
    r"``(?P<literal>[^`\n]{1,500})``"
    r"|(?::[\w.+:-]{1,60}:)?`(?P<phrase>[^`]{1,1000})`(?::[\w.+:-]{1,60}:)?_{0,2}"
    r"|(?<!\w)\|(?P<substitution>[^|\s][^|\n]{0,100})\|_{0,2}(?!\w)"
    r"|(?<![\w*\\])(?P<stars>\*{1,2})(?P<emphasis>[^\s*][^*]{0,1000})(?P=stars)(?![\w*])"
    r"|(?<=[^\W_])_(?!\w)"
    r"|\\(?P<escaped>\S)"
)
_NEVER = 5
"""Above all levels of docutils' messages."""
_TARGET = re.compile(r"\s*<[^<>]{1,500}>\Z")


def _settings() -> Any:
    settings = frontend.get_default_settings(rst.Parser)
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings.syntax_highlight = "none"
    settings.line_length_limit = MAX_CHARACTERS
    settings.report_level = settings.halt_level = _NEVER
    settings.warning_stream = False
    return settings


_SETTINGS = _settings()
"""Made while modules are imported: to make them changes the process's filters of warnings for a moment."""


class RstParser:
    """Parser of `text/x-rst`. Directives and roles that docutils does not know keep what they hold."""

    media_types = frozenset({MediaType.RST})

    def parse(self, data: bytes) -> ParsedDocument:
        source = normalize(decode_text(data)).expandtabs(8).rstrip()
        if len(source) > _MAX_STRUCTURED_CHARACTERS:
            return assemble(paragraph_blocks(source))
        try:
            blocks = list(tree_blocks(parse_tree(source), parse_tree))
        except RecursionError as error:
            raise faults.corrupt("nests its blocks too deeply") from error
        if not blocks:
            raise faults.has_no_text("it holds comments and directives only")
        title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        return assemble(blocks, title=title)


def parse_tree(source: str) -> nodes.document:
    """Return the blocks of `source` as docutils sees them, without transforms."""
    document = utils.new_document("document.rst", copy.deepcopy(_SETTINGS))
    rst.Parser(inliner=_PlainInliner()).parse(_INERT.sub(r"\1\2", source), document)
    return document


def without_marks(text: str) -> str:
    """Return `text` without inline marks: of a role or a link remains what a reader sees."""
    return _MARK.sub(_shown, text)


def _shown(mark: re.Match[str]) -> str:
    if mark["phrase"]:
        return _TARGET.sub("", mark["phrase"]).lstrip("~!") or mark["phrase"].strip("<>")
    return mark["literal"] or mark["substitution"] or mark["emphasis"] or mark["escaped"] or ""


class _PlainInliner(states.Inliner):
    """Takes inline markup for text.

    docutils' own search takes time that grows with the square of a paragraph, and replaces a role
    that it does not know by a message.
    """

    def init_customizations(self, settings: Any) -> None:
        """Make none of the patterns that only docutils' own search needs."""

    def parse(
        self, text: str, lineno: int, memo: Any, parent: nodes.Element
    ) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        del lineno, memo, parent
        shown = without_marks(text)
        return [nodes.Text(shown)], []
