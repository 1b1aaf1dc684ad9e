"""Styles and numbering of WordprocessingML: which paragraphs are headings and list items, and their labels.

See ECMA-376 part 1, 17.7 (styles) and 17.9 (numbering).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from lxml import etree

from ingest_worker.parse.xml_tree import integer

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VAL = f"{W}val"
_HEADING_NAME = re.compile(
    r"(?:heading|überschrift|titre|título|titulo|titolo|kop|rubrik|overskrift|otsikko|nagłówek|nadpis|başlık"
    r"|заголовок|标题|標題|見出し|제목)\s*([1-9])\b",
    re.IGNORECASE,
)
"""Word stores the English name of its styles in every language; other programs store what the user sees."""
_TITLE_NAMES = {"title", "titel", "titre", "título", "titolo"}
_MAX_LEVEL = 6
_BODY_LEVEL = 9
"""The outline level of body text."""
_MAX_STYLES_ABOVE = 20
_LEVEL_MARK = re.compile(r"%([1-9])")
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"))
_ROMAN_SMALL = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
_MAX_ROMAN = 5_000
_LETTERS = 26
_MAX_LETTER_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a numbering."""

    number_format: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Item:
    """What a paragraph has as an item of a list or as a numbered heading."""

    level: int
    """0 for the outermost."""
    label: str
    """Such as `2.1` or `a)`; empty for a bullet."""


class Styles:
    """The paragraph styles of one document; `root` is its part `styles.xml`, if it has one."""

    def __init__(self, root: etree._Element | None) -> None:
        styles = [] if root is None else root.findall(f"{W}style")
        self._styles = {style.get(f"{W}styleId", ""): style for style in styles}
        self._default = next(
            (
                style.get(f"{W}styleId", "")
                for style in styles
                if style.get(f"{W}type") == "paragraph" and style.get(f"{W}default") in {"1", "true", "on"}
            ),
            "",
        )

    def heading_level(self, properties: etree._Element | None) -> int:
        """Return 1 to 6 for the `w:pPr` of a heading, else 0."""
        own = integer(_value(properties, "outlineLvl"), -1)
        if own >= 0:
            return _heading_level(own)
        for style in self._chain(properties):
            name = _value(style, "name").strip()
            named = _HEADING_NAME.match(name)
            if named:
                return min(int(named[1]), _MAX_LEVEL)
            level = integer(_value(style.find(f"{W}pPr"), "outlineLvl"), -1)
            if level >= 0:
                return _heading_level(level)
            if name.lower() in _TITLE_NAMES:
                return 1
        return 0

    def is_title(self, properties: etree._Element | None) -> bool:
        """Whether the paragraph with these `w:pPr` is the title of the document."""
        return any(_value(style, "name").lower() in _TITLE_NAMES for style in self._chain(properties))

    def numbering(self, properties: etree._Element | None) -> tuple[str, int] | None:
        """Return the id of the numbering and the level of the paragraph with these `w:pPr`, if it has one."""
        numbering_id, level = "", ""
        styles = (style.find(f"{W}pPr") for style in self._chain(properties))
        for source in (properties, *styles):
            number = None if source is None else source.find(f"{W}numPr")
            if number is None:
                continue
            numbering_id = numbering_id or _value(number, "numId")
            level = level or _value(number, "ilvl")
            if numbering_id:
                break
        if not numbering_id or numbering_id == "0":
            return None
        return numbering_id, min(integer(level, 0), _BODY_LEVEL - 1)

    def _chain(self, properties: etree._Element | None) -> list[etree._Element]:
        """Return the style of a paragraph and those it is based on."""
        name = _value(properties, "pStyle") or self._default
        chain: list[etree._Element] = []
        while name in self._styles and len(chain) < _MAX_STYLES_ABOVE:
            chain.append(self._styles[name])
            name = _value(chain[-1], "basedOn")
        return chain


class Numbering:
    """Counts the items of a document's lists; `root` is its part `numbering.xml`, if it has one."""

    def __init__(self, root: etree._Element | None) -> None:
        self._levels: dict[str, dict[int, Level]] = {}
        self._abstract: dict[str, str] = {}
        self._overrides: dict[str, dict[int, int]] = {}
        self._seen: set[str] = set()
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        for abstract in [] if root is None else root.iterfind(f"{W}abstractNum"):
            self._levels[abstract.get(f"{W}abstractNumId", "")] = _levels(abstract)
        for number in [] if root is None else root.iterfind(f"{W}num"):
            name = number.get(f"{W}numId", "")
            self._abstract[name] = _value(number, "abstractNumId")
            self._overrides[name] = {
                integer(override.get(f"{W}ilvl"), 0): integer(_value(override, "startOverride"), 1)
                for override in number.iterfind(f"{W}lvlOverride")
                if override.find(f"{W}startOverride") is not None
            }

    def next_item(self, numbering_id: str, level: int) -> Item:
        """Count one more item of the numbering and return its place. Numberings of one kind count on."""
        abstract = self._abstract.get(numbering_id, numbering_id)
        levels = self._levels.get(abstract, {})
        counts = self._counts[abstract]
        if numbering_id not in self._seen:
            self._seen.add(numbering_id)
            for overridden, start in self._overrides.get(numbering_id, {}).items():
                counts[overridden] = start - 1
        here = levels.get(level, Level("bullet", "", 1))
        counts[level] = counts.get(level, here.start - 1) + 1
        for deeper in [key for key in counts if key > level]:
            del counts[deeper]
        return Item(level, "" if here.number_format in {"bullet", "none"} else _label(here, levels, counts))


def _heading_level(outline_level: int) -> int:
    return min(outline_level + 1, _MAX_LEVEL) if outline_level < _BODY_LEVEL else 0


def _levels(abstract: etree._Element) -> dict[int, Level]:
    return {
        integer(level.get(f"{W}ilvl"), 0): Level(
            _value(level, "numFmt") or "decimal",
            _value(level, "lvlText"),
            integer(_value(level, "start"), 1),
        )
        for level in abstract.iterfind(f"{W}lvl")
    }


def _label(here: Level, levels: dict[int, Level], counts: dict[int, int]) -> str:
    def number(mark: re.Match[str]) -> str:
        index = int(mark[1]) - 1
        level = levels.get(index, here)
        return formatted_number(counts.get(index, level.start), level.number_format)

    return _LEVEL_MARK.sub(number, here.text)


def formatted_number(number: int, number_format: str) -> str:
    """Return `number` in a number format of ECMA-376, 17.18.59; in decimal for those of other scripts."""
    if number_format in {"lowerRoman", "upperRoman"} and 0 < number < _MAX_ROMAN:
        said, rest = "", number
        for value, sign in (*_ROMAN, *_ROMAN_SMALL):
            said += sign * (rest // value)
            rest %= value
    elif number_format in {"lowerLetter", "upperLetter"} and 0 < number <= _LETTERS * _MAX_LETTER_REPEATS:
        said = chr(ord("a") + (number - 1) % _LETTERS) * ((number - 1) // _LETTERS + 1)
    elif number_format == "decimalZero":
        return f"{number:02}"
    else:
        return str(number)
    return said.upper() if number_format.startswith("upper") else said


def _value(element: etree._Element | None, name: str) -> str:
    """Return the `w:val` of the child `name` of `element`, or an empty string."""
    child = None if element is None else element.find(f"{W}{name}")
    return "" if child is None else str(child.get(_VAL) or "")
