"""HTML: the main content of a page (trafilatura), or all of its body where that finds too little."""

from __future__ import annotations

import copy
import re
from configparser import ConfigParser

import trafilatura
from lxml import etree
from lxml import html as lxml_html
from trafilatura.settings import DEFAULT_CONFIG, Document

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import TextBlock, assemble
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.html_blocks import html_blocks
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import MediaType, ParsedDocument

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*\Z")
_INVISIBLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_NO_TEXT_TAGS = (
    *(
        "script",
        "style",
        "noscript",
        "template",
        "iframe",
        "object",
        "embed",
        "svg",
        "canvas",
        "audio",
        "video",
    ),
    *("input", "select", "textarea", "button", "datalist"),
)
_BOILERPLATE_TAGS = ("nav", "footer", "aside", "form")
_TRUSTED_SHARE = 0.7
"""Of the body's text without boilerplate: a main content smaller than this ..."""
_TRUSTED_CHARACTERS = 1000
"""... and shorter than this is taken for a wrong guess."""


class HtmlParser:
    """Parser of `text/html`. Scripts, styles and hidden elements never reach the text."""

    media_types = frozenset({MediaType.HTML})

    def __init__(self) -> None:
        self._config: ConfigParser = copy.deepcopy(DEFAULT_CONFIG)
        # By default trafilatura flattens a page of under 250 characters into one paragraph.
        self._config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "1")

    def parse(self, data: bytes) -> ParsedDocument:
        declared = _CHARSET.search(data, 0, 4096)
        source = decode_text(data, charset=declared[1].decode("ascii") if declared else "")
        try:
            page = page_of(source)
            title = _title(page)
            blocks = self._content(page)
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error
        if not blocks:
            raise faults.has_no_text("its body holds only markup, scripts or hidden elements")
        language = (page.get("lang") or page.get("xml:lang") or "").strip()
        return assemble(blocks, title=title, language=language if _LANGUAGE.match(language) else "")

    def _content(self, page: lxml_html.HtmlElement) -> list[TextBlock]:
        """Return the blocks of the main content, or of the body where that is not to be trusted."""
        main = self._main_content(page)
        body = page.find("body")
        whole = html_blocks(body) if body is not None else []
        if body is not None:
            for element in body.xpath("|".join(f".//{tag}" for tag in _BOILERPLATE_TAGS)):
                element.drop_tree()
        stripped = html_blocks(body) if body is not None else []
        share = _length(main) / max(_length(stripped), 1)
        is_flattened = len(main) < len(stripped) and len(main) == 1 and share > _TRUSTED_SHARE
        is_trusted = share >= _TRUSTED_SHARE or _length(main) >= _TRUSTED_CHARACTERS
        return main if main and is_trusted and not is_flattened else stripped or whole

    def _main_content(self, page: lxml_html.HtmlElement) -> list[TextBlock]:
        """Return the blocks that trafilatura finds, if any."""
        try:
            found = trafilatura.bare_extraction(
                copy.deepcopy(page),
                fast=True,
                favor_recall=True,
                include_comments=False,
                include_tables=True,
                include_formatting=True,
                config=self._config,
            )
        except (ValueError, TypeError, AttributeError, LookupError, etree.LxmlError):
            return []  # its heuristics stumble over odd markup; the page is then read with its boilerplate
        return html_blocks(found.body) if isinstance(found, Document) and found.body is not None else []


def page_of(source: str) -> lxml_html.HtmlElement:
    """Return the root of `source` without what a reader of the page does not see.

    Raises `InvalidArgument` with reason `DOCUMENT_HAS_NO_TEXT` where it holds nothing at all, and
    `DOCUMENT_CORRUPT` where it nests its elements too deeply.
    """
    parser = lxml_html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    source = _XML_DECLARATION.sub("", normalize(source))
    try:
        root = lxml_html.document_fromstring(source.encode(errors="replace"), parser=parser)
    except etree.ParserError as error:
        raise faults.has_no_text("it holds no elements and no text") from error
    if any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log):
        raise faults.corrupt("nests its elements too deeply")  # the parser left out what lies deeper
    drop_invisible(root)
    return root


def drop_invisible(root: lxml_html.HtmlElement) -> None:
    """Remove scripts, styles, controls and hidden elements from the page `root`."""
    for element in root.xpath("|".join(f".//{tag}" for tag in _NO_TEXT_TAGS) + "|.//*[@hidden]|.//*[@style]"):
        invisible = element.tag in _NO_TEXT_TAGS or "hidden" in element.attrib
        if (invisible or _INVISIBLE.search(element.get("style", ""))) and element.getparent() is not None:
            element.drop_tree()


def _title(page: lxml_html.HtmlElement) -> str:
    """Return the title that the page gives itself for sharing, its only `h1`, or its `title`."""
    shared = page.xpath("string(.//meta[@property='og:title']/@content)").strip()
    if shared:
        return str(shared)
    headings = page.xpath(".//h1")
    only = headings[0].text_content().strip() if len(headings) == 1 else ""
    return str(only or page.xpath("string(.//title)").strip())


def _length(blocks: list[TextBlock]) -> int:
    return sum(len(block.text) for block in blocks)
