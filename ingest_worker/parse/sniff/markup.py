"""HTML, XML and Markdown, by the start of a text and the signs in it."""

from __future__ import annotations

import re

# The patterns below meet hostile text: each takes time in proportion to it (atomic groups, bounded repeats).
_HTML_ROOT = re.compile(
    r"(?:<\?xml[^>]*>\s*)?(?>(?:<!--(?>.*?-->)\s*)*)<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_START = re.compile(
    r"<(?:p|div|h[1-6]|ul|ol|table|article|section|main|header|title|meta)\b[^<>]*>", re.IGNORECASE
)
_HTML_TAG = re.compile(
    r"</?(?:p|div|h[1-6]|ul|ol|li|table|tr|td|a|span|br|article|section|body|html)\b[^<>]*>", re.IGNORECASE
)
_HTML_ELEMENT = re.compile(
    r"a|abbr|address|article|aside|audio|b|base|blockquote|body|br|button|canvas|center|code|d[dlt]|details|div|"
    r"em|figure|font|footer|form|h[1-6r]|head|header|html|i|iframe|img|input|label|li|link|main|meta|nav|object|"
    r"ol|option|p|picture|pre|q|s|script|section|select|small|span|strong|style|su[bp]|summary|table|tbody|t[dhr]|"
    r"template|textarea|tfoot|thead|time|title|u|ul|video",
    re.IGNORECASE,
)
_XML_DECLARATION = re.compile(r"<\?xml\s")
_XML_ROOT = re.compile(
    r"(?>(?:\s+|<\?(?>.*?\?>)|<!--(?>.*?-->)|<!DOCTYPE(?>[^\[>]*)(?>(?:\[(?>[^\]]*)\]\s*)?)>)*)"
    r"<((?:[A-Za-z_][\w.-]{0,200}:)?[A-Za-z_][\w.-]{0,200})(?=[\s/>])",
    re.DOTALL,
)
_MARKDOWN_SIGNS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^#{1,6} +\S",
        r"\A\s*#{1,6} +\S.*\n[ \t]*\n",
        r"^(?:```|~~~)",
        r"\[[^\[\]\n]{1,500}\]\([^()\s]{1,500}\)",
        r"^\|?[ \t]*:?-{3,}:?[ \t]*\|",
        r"^[^\s].*\n(?:={3,}|-{3,})$",
        r"^ {0,3}(?:[-*+]|\d{1,3}\.) +\S.*\n {0,3}(?:[-*+]|\d{1,3}\.) +\S",
        r"\*\*[^\s*][^*\n]*\*\*",
    )
)
_MARKDOWN_SIGN_COUNT = 2
_HEADING_LINE = re.compile(r"#{1,6} +\S")
_CODE_LINE = re.compile(r"\s|[\w.\"'\[\]-]+\s*[:=]|.*[;{}(,\\]$")
"""Indented, a setting with its name first, or one that ends as only code does."""
_MIN_PROSE_SHARE = 0.6
_MIN_PROSE_WORDS = 6
_MIN_SENTENCE_WORDS = 3


def is_html_page(start: str) -> bool:
    """Whether a text that begins with `start`, without space before it, is HTML or XHTML beyond doubt."""
    return bool(_HTML_ROOT.match(start)) or xml_root(start).rpartition(":")[2].lower() == "html"


def has_html_tags(sample: str) -> bool:
    """Whether any common element of HTML is in `sample`."""
    return bool(_HTML_TAG.search(sample))


def is_html_fragment(start: str) -> bool:
    """Whether `start` begins with an element of HTML that a page's body has, and has another one."""
    return bool(_HTML_START.match(start) and _HTML_TAG.search(start, 1))


def xml_root(start: str) -> str:
    """Return the name of the first element of `start` where nothing but a prologue is before it, else ''."""
    found = _XML_ROOT.match(start)
    return found[1] if found else ""


def is_xml(start: str, end: str) -> bool:
    """Whether a text from `start` to `end` is XML: declared, or one element that HTML does not have."""
    if _XML_DECLARATION.match(start):
        return bool(xml_root(start))
    root = xml_root(start)
    if not root or _HTML_ELEMENT.fullmatch(root):
        return False
    return end.rstrip().endswith((f"</{root}>", "/>"))


def is_markdown(sample: str) -> bool:
    """Whether `sample` has several signs of Markdown, and not only comments of code that look like some."""
    sample = sample.replace("\r\n", "\n")
    signs = sum(bool(sign.search(sample)) for sign in _MARKDOWN_SIGNS)
    return signs >= _MARKDOWN_SIGN_COUNT or _is_outline(sample)


def _is_outline(sample: str) -> bool:
    """Whether `sample` is headings with nothing or prose between them, rather than code with comments."""
    lines = [line.rstrip() for line in sample.split("\n") if line.strip()]
    body = [line for line in lines if not _HEADING_LINE.match(line)]
    if len(lines) - len(body) < _MARKDOWN_SIGN_COUNT:
        return False
    return sum(map(_is_prose, body)) >= _MIN_PROSE_SHARE * len(body)


def _is_prose(line: str) -> bool:
    word_count = len(line.split())
    is_sentence = line.endswith((".", "!", "?", "…")) and word_count >= _MIN_SENTENCE_WORDS
    return (is_sentence or word_count >= _MIN_PROSE_WORDS) and not _CODE_LINE.match(line)
