"""The table of contents of an EPUB, and its entries as headings where the chapters lack them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from lxml import etree
from lxml import html as lxml_html

from ingest_worker.parse.assembly import one_line
from ingest_worker.parse.xml_tree import local_name

_HEADING = re.compile(r"h[1-6]\Z")
_DIVISIONS = {"div", "section", "article", "main"}
_MAX_LEVEL = 6
_MAX_ENTRIES = 20_000
_NO_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table of contents."""

    href: str
    label: str
    level: int
    """1 for the outermost."""

    @property
    def fragment(self) -> str:
        """The id of the element that it points to; empty for the start of its file."""
        return unquote(self.href.partition("#")[2])


def contents_of(root: etree._Element) -> Iterator[Entry]:
    """Yield the entries of a navigation document (EPUB 3) or an NCX (EPUB 2), in order, 20 000 at most."""
    is_ncx = local_name(root.tag) == "ncx"
    found = _ncx_entries(root) if is_ncx else _navigation_entries(root)
    for _, entry in zip(range(_MAX_ENTRIES), found, strict=False):
        if entry.href and entry.label:
            yield entry


def place_entries(body: lxml_html.HtmlElement, entries: Sequence[Entry]) -> None:
    """Give the headings of a chapter the levels of their entries, and add headings for entries without one.

    An entry is met by the first heading of the chapter that says the same and meets no other entry; one for
    the chapter as a whole also by a first heading that begins like it.
    """
    targets: dict[str, etree._Element] = {}
    by_key: dict[str, deque[etree._Element]] = {}
    headings: list[etree._Element] = []
    for element in body.iter(etree.Element):
        for name in (element.get("id"), element.get("name")):
            if name:
                targets.setdefault(name, element)
        if _HEADING.match(local_name(element.tag)):
            headings.append(element)
            by_key.setdefault(_key(element.text_content()), deque()).append(element)
    shifts: dict[etree._Element, int] = {}
    at_start = 0
    for entry in entries:
        key = _key(entry.label)
        first = headings[0] if headings and not entry.fragment else None
        if same := by_key.get(key):
            element = same.popleft()
            shifts[element] = entry.level - int(element.tag[1])
            continue
        if first is not None and first not in shifts and _is_longer(key, _key(first.text_content())):
            shifts[first] = entry.level - int(first.tag[1])
            continue
        heading = lxml_html.Element(f"h{min(entry.level, _MAX_LEVEL)}")
        heading.text = entry.label
        target = targets.get(entry.fragment)
        if target is None or target is body:
            body.insert(at_start, heading)
            at_start += 1
        else:
            _block_of(target, body).addprevious(heading)
    _shift(headings, shifts)
    if at_start and (body.text or "").strip():
        body[at_start - 1].tail, body.text = body.text, None


def _is_longer(one: str, other: str) -> bool:
    """Whether one of two keys begins with the other, as `Chapter 2` and `Chapter 2: The hive`."""
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def _shift(headings: Sequence[etree._Element], shifts: Mapping[etree._Element, int]) -> None:
    """Change the levels of `headings`: those between two that have a shift go with the one above them."""
    shift = 0
    for heading in headings:
        shift = shifts.get(heading, shift)
        heading.tag = f"h{min(max(int(heading.tag[1]) + shift, 1), _MAX_LEVEL)}"


def _block_of(target: etree._Element, body: etree._Element) -> etree._Element:
    """Return `target`, or what holds it, that stands in the body itself or in a `div`."""
    while (parent := target.getparent()) is not None and parent is not body and parent.tag not in _DIVISIONS:
        target = parent
    return target


def _navigation_entries(root: etree._Element) -> Iterator[Entry]:
    for navigation in root.iter(etree.Element):
        if local_name(navigation.tag) != "nav":
            continue
        kind = next((value for name, value in navigation.items() if local_name(name) == "type"), "")
        if kind not in {"", "toc"}:
            continue  # landmarks, lists of pages
        depth = 0
        for event, element in etree.iterwalk(navigation, events=("start", "end")):
            name = local_name(element.tag)
            if name == "ol":
                depth += 1 if event == "start" else -1
            elif name == "a" and event == "start":
                yield Entry(element.get("href", ""), one_line("".join(element.itertext())), max(depth, 1))


def _ncx_entries(root: etree._Element) -> Iterator[Entry]:
    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if local_name(element.tag) != "navPoint":
            continue
        depth += 1 if event == "start" else -1
        if event == "start":
            parts = {local_name(child.tag): child for child in element}
            label, content = parts.get("navLabel"), parts.get("content")
            if label is not None and content is not None:
                yield Entry(content.get("src", ""), one_line("".join(label.itertext())), depth)


def _key(text: str) -> str:
    """Return what is compared of a heading: its letters and digits."""
    return _NO_LETTER.sub("", text).casefold()
