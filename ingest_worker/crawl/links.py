"""What a crawler has to know of an HTML page: its links, its canonical URL, and what it forbids to robots."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from ingest_worker.crawl.results import SkipReason
from ingest_worker.crawl.urls import normalize_url
from rag_server.errors import InvalidArgument

_FEED_BYTES = 1 << 16
_MAX_DEPTH = 500
"""Elements inside each other. libxml2 looks for the start of each end tag through all open elements, so that
without a bound the time would be quadratic; and browsers flatten what lies deeper than 512."""
_REFRESH = re.compile(
    r"\s{0,20}[\d.]{1,20}\s{0,20}[;,]\s{0,20}(?:url\s{0,20}=\s{0,20})?[\"']?([^\"'\s]+)", re.IGNORECASE
)
_MAX_BASE_CHARACTERS = 8_000


@dataclass(slots=True)
class PageLinks:
    """The result; URLs are normalised."""

    links: tuple[str, ...] = ()
    """Each once, in order, without those with rel=nofollow."""
    canonical: str = ""
    directives: frozenset[str] = frozenset()
    """Of `<meta name=robots>`, lower case."""
    skipped: Counter[SkipReason] = field(default_factory=Counter)


def extract_links(
    data: bytes, url: str, *, charset: str = "", robot: str = "", max_links: int = 5_000
) -> PageLinks:
    """Read the page `data` that came from `url`. CPU work, linear in its length; never raises for bad markup.

    Args:
        data: The bytes of the page.
        url: Where it came from, normalised; relative links refer to it, or to `<base href>`.
        charset: As the answer's header declares it.
        robot: Our product token; `<meta name=TOKEN>` counts like `name=robots`.
        max_links: Later ones are counted as `TOO_MANY_LINKS`.
    """
    target = _Target(robot.lower(), max_links)
    parser = _parser(data, charset, target)
    try:
        for start in range(0, len(data), _FEED_BYTES):
            parser.feed(data[start : start + _FEED_BYTES])
        parser.close()
    except _TooDeepError:
        pass  # what was found above that depth counts
    except etree.LxmlError:
        pass  # likewise: nothing in it, or an element that is too large for the parser
    return target.result(url)


class _TooDeepError(Exception):
    """The page nests its elements deeper than is read."""


def _parser(data: bytes, charset: str, target: _Target) -> etree.HTMLParser:
    for encoding in (charset, _utf8(data), None):
        if encoding == "":
            continue
        try:
            return etree.HTMLParser(target=target, encoding=encoding, huge_tree=True)
        except LookupError:
            continue  # a charset that libxml2 does not know
    raise AssertionError("None is always accepted")


def _utf8(data: bytes) -> str:
    """Return `utf-8` where the bytes are; else libxml2 looks for a `<meta charset>` itself."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return ""
    return "utf-8"


class _Target:
    """Receives the parser's events; builds no tree."""

    def __init__(self, robot: str, max_links: int) -> None:
        self._robots = {"robots", robot} - {""}
        self._max_links = max_links
        self._depth = 0
        self._base: str | None = None
        self._canonical = ""
        self._directives: set[str] = set()
        self._references: dict[str, None] = {}
        self._skipped: Counter[SkipReason] = Counter()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _TooDeepError
        if tag in {"a", "area"}:
            self._link(attributes.get("href"), attributes.get("rel", ""))
        elif tag in {"frame", "iframe"}:
            self._link(attributes.get("src"), "")
        elif tag == "base" and self._base is None and attributes.get("href"):
            self._base = attributes["href"][:_MAX_BASE_CHARACTERS]
        elif tag == "link" and "canonical" in attributes.get("rel", "").lower().split():
            self._canonical = self._canonical or attributes.get("href", "")
        elif tag == "meta":
            self._meta(attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1

    def data(self, text: str) -> None:
        """Text of the page: nothing to do."""

    def comment(self, text: str) -> None:
        """Likewise."""

    def close(self) -> None:
        """All was read."""

    def _link(self, reference: str | None, rel: str) -> None:
        if not reference or reference.startswith("#") or "nofollow" in rel.lower().split():
            return
        if reference in self._references:
            return
        if len(self._references) >= self._max_links:
            self._skipped[SkipReason.TOO_MANY_LINKS] += 1
        else:
            self._references[reference] = None

    def _meta(self, attributes: Mapping[str, str]) -> None:
        content = attributes.get("content", "")
        if attributes.get("name", "").strip().lower() in self._robots:
            self._directives.update(part.strip().lower() for part in content[:1000].split(","))
        elif attributes.get("http-equiv", "").strip().lower() == "refresh":
            found = _REFRESH.match(content)
            self._link(found[1] if found else None, "")

    def result(self, url: str) -> PageLinks:
        """Return what was found on the page that came from `url`."""
        base = _absolute(self._base, url) or url if self._base else url
        links: dict[str, None] = {}
        for reference in self._references:
            try:
                links[normalize_url(reference, base)] = None
            except InvalidArgument as error:
                unsupported = error.reason == "UNSUPPORTED_URI_SCHEME"
                reason = SkipReason.UNSUPPORTED_SCHEME if unsupported else SkipReason.INVALID_URL
                self._skipped[reason] += 1
        canonical = _absolute(self._canonical, base) if self._canonical else ""
        return PageLinks(tuple(links), canonical, frozenset(self._directives - {""}), self._skipped)


def _absolute(reference: str, base: str) -> str:
    try:
        return normalize_url(reference, base)
    except InvalidArgument:
        return ""
