"""What an answer's headers say to robots."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httpx

from ingest_worker.crawl.urls import normalize_url
from rag_server.errors import InvalidArgument

_LINK = re.compile(r"<([^<>]{1,8000})>([^<>]*)")
_CANONICAL = re.compile(r";\s*rel\s*=\s*\"?[^\";,]*\bcanonical\b", re.IGNORECASE)
_OWN_COLON = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def header_directives(headers: httpx.Headers, robot: str) -> frozenset[str]:
    """Return the directives of `X-Robots-Tag` that concern `robot`, lower case.

    A value may begin with the name of the robot that it is for: `otherbot: noindex, nofollow`.
    """
    found: set[str] = set()
    for value in headers.get_list("x-robots-tag"):
        name, colon, rest = value.partition(":")
        agent = name.strip().lower()
        is_named = bool(colon) and "," not in name and agent not in _OWN_COLON
        if is_named and agent not in {robot.lower(), "robots", "*"}:
            continue
        found.update(part.strip().lower() for part in (rest if is_named else value).split(","))
    return frozenset(found - {""})


def forbids(directives: Iterable[str], directive: str) -> bool:
    """Whether `noindex` or `nofollow` is among them; `none` means both."""
    return not {directive, "none"}.isdisjoint(directives)


def header_canonical(headers: httpx.Headers, url: str) -> str:
    """Return the canonical URL that a `Link` header names (RFC 6596), normalised; empty where none does."""
    for value in headers.get_list("link"):
        for reference, parameters in _LINK.findall(value):
            if _CANONICAL.search(parameters):
                try:
                    return normalize_url(reference, url)
                except InvalidArgument:
                    return ""
    return ""
