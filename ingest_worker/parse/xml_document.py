"""Vocabularies of documents in XML, brought to that of HTML: DocBook 4 and 5, JATS, TEI P5 and their kin."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

_PARAGRAPHS = {"p", "para", "simpara"}
_HEADINGS = {"title", "head", "heading", "bridgehead", "article-title"}
_HTML_NAMES = {
    **dict.fromkeys(_PARAGRAPHS, "p"),
    **dict.fromkeys(
        ("itemizedlist", "orderedlist", "simplelist", "variablelist", "procedure", "list", "def-list"), "ul"
    ),
    **dict.fromkeys(("ul", "ol"), "ul"),
    **dict.fromkeys(
        ("listitem", "item", "li", "list-item", "member", "varlistentry", "step", "def-item"), "li"
    ),
    **dict.fromkeys(
        ("programlisting", "screen", "synopsis", "literallayout", "preformat", "pre", "eg", "codeblock"),
        "pre",
    ),
    **dict.fromkeys(("table", "informaltable"), "table"),
    **{name: name for name in ("thead", "tbody", "tfoot")},
    **dict.fromkeys(("row", "tr"), "tr"),
    **dict.fromkeys(("entry", "cell", "td", "th"), "td"),
    **dict.fromkeys(("lb", "br", "break"), "br"),
    "code": "code",
}
_DROPPED = {"indexterm", "colspec", "spanspec", "journal-id", "article-id", "script", "style"}
_WRAPPERS = {
    *("info", "front", "article-meta", "title-group", "titlepage", "titlePage", "docTitle", "titlePart"),
    *("teiHeader", "fileDesc", "titleStmt", "bookinfo", "articleinfo", "chapterinfo", "sectioninfo"),
    *("front-stub", "book-meta", "book-title-group"),
}
"""Elements between a division and its title."""
_FLOATS = {
    *("figure", "fig", "table", "informaltable", "table-wrap", "caption", "example", "formalpara", "list"),
    *("note", "warning", "tip", "caution", "important", "ref", "mixed-citation", "element-citation", "bibl"),
    *("biblStruct", "biblioentry", "bibliomixed", "itemizedlist", "orderedlist", "variablelist", "procedure"),
    *("boxed-text", "disp-formula", "sourceDesc", "citetitle"),
}
"""Elements whose title is no heading of the text around them."""
_PROSE_CHARACTERS = 100
_MIN_PROSE_SHARE = 0.8
"""Of the text of elements without any that is known, in pieces of at least so many characters."""
_MAX_LEVEL = 6
_NAME_CHARACTERS = 200


def is_document(root: etree._Element) -> bool:
    """Whether the elements under `root`, by their local names and their text, hold prose rather than data."""
    length, prose = 0, 0
    for element in root.iter(etree.Element):
        if element.tag in _PARAGRAPHS or _is_mixed(element):
            return True
        text = (element.text or "").strip()
        length += len(text)
        prose += len(text) if len(text) >= _PROSE_CHARACTERS and " " in text else 0
    return prose > _MIN_PROSE_SHARE * length


def to_html(root: etree._Element) -> None:
    """Rename the elements under `root` so that `html_blocks` reads them; their depth is bounded by 256."""
    for group in list(root.iter("tgroup")):  # which CALS tables have between the table and its rows
        for child in group:
            group.addprevious(child)
    _rename(root, depth=1, is_heading_place=True, is_inline=False)


def _rename(element: etree._Element, *, depth: int, is_heading_place: bool, is_inline: bool) -> None:
    """Rename `element` and all below it. `depth` is the level of a heading that stands here."""
    name = element.tag
    if name in _DROPPED:
        tail = element.tail
        element.clear()
        element.tail, element.tag = tail, "span"
        return
    children = list(element.iterchildren(etree.Element))
    is_heading = name in _HEADINGS and is_heading_place and not is_inline
    below = depth + 1 if name not in _WRAPPERS and not is_heading and _has_heading(element) else depth
    # The title of a division has the level of the division, what it holds one below.
    heading_place = is_heading_place and name not in _FLOATS
    is_run = is_inline or is_heading or name in _PARAGRAPHS or _is_mixed(element)
    is_short = not is_run and name not in _HTML_NAMES and _is_short_group(children)
    for child in children:
        is_title = child.tag in _HEADINGS or child.tag in _WRAPPERS
        _rename(
            child,
            depth=below - 1 if is_title and below > depth else below,
            is_heading_place=heading_place,
            is_inline=is_run or is_short,
        )
        if is_short:
            child.tail = f"{child.tail or ''} "
    if is_heading:
        element.tag = f"h{min(depth, _MAX_LEVEL)}"
    elif name == "title" and element.getparent() is not None and element.getparent().tag == "table":
        element.tag = "caption"
    elif name in _HTML_NAMES:
        element.tag = _HTML_NAMES[name]
    elif is_inline:
        element.tag = "span"
    else:
        element.tag = "p" if is_run or is_short else "div"


def _has_heading(element: etree._Element) -> bool:
    return any(child.tag in _HEADINGS for child in _titled_children(element))


def _titled_children(element: etree._Element) -> Iterator[etree._Element]:
    for child in element.iterchildren(etree.Element):
        if child.tag in _WRAPPERS:
            yield from _titled_children(child)
        else:
            yield child


def _is_mixed(element: etree._Element) -> bool:
    """Whether text and elements stand side by side in `element`."""
    if not len(element):
        return False
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _is_short_group(children: list[etree._Element]) -> bool:
    """Whether `children` are the parts of one short thing, as of a name or a date."""
    if len(children) < 2 or any(len(child) or child.tag in _HTML_NAMES for child in children):  # noqa: PLR2004
        return False
    if any(child.tag in _HEADINGS for child in children):
        return False
    return sum(len(child.text or "") for child in children) <= _NAME_CHARACTERS
