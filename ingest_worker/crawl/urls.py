"""One spelling for each URL, so that a page is visited once however its links write it."""

from __future__ import annotations

import re
import string

import httpx

from ingest_worker.fetch import checked_url

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_TRACKING = re.compile(
    r"(?:utm_[a-z_]+|gclid|dclid|fbclid|msclkid|yclid|mc_cid|mc_eid)(?:=|\Z)", re.IGNORECASE
)
_STRIPPED = "".join(chr(code) for code in range(0x21))
_REMOVED = str.maketrans("", "", "\t\r\n")
DEFAULT_PORTS = {"http": 80, "https": 443}


def normalize_url(text: str, base: str | None = None) -> str:
    """Return `text`, resolved against `base`, as an absolute http or https URL in its normal form.

    RFC 3986, section 6.2: scheme and host in lower case, no default port, no dot segments, escapes in upper
    case and only where needed, `/` for an empty path; no fragment. The order of the query stays.
    Parameters that only track visitors (`utm_*`, `gclid`, `fbclid`...) go. White space around the
    reference and line ends inside it are dropped, as browsers do (WHATWG URL, 4.4).

    Raises `InvalidArgument`: `UNSUPPORTED_URI_SCHEME` or `URI_INVALID`.
    """
    reference = text.strip(_STRIPPED).translate(_REMOVED)
    url = checked_url(reference, base=httpx.URL(base) if base is not None else None)
    path, mark, query = url.raw_path.decode("ascii").partition("?")
    path = _ESCAPE.sub(_needed, path) or "/"
    kept = [part for part in query.split("&") if part and not _TRACKING.match(part)]
    query = _ESCAPE.sub(_needed, "&".join(kept))
    # Parsed once more: dot segments may have come out of the escapes.
    target = f"{path}?{query}" if mark and query else path
    return str(checked_url(str(url.copy_with(raw_path=target.encode("ascii")))))


def split_url(url: str) -> tuple[str, str, str]:
    """Return origin, path and query of a normalised URL; the query with its `?`, or empty."""
    start = url.index("/", url.index("//") + 2)
    path, mark, query = url[start:].partition("?")
    return url[:start], path, mark + query


def origin_of(url: str) -> str:
    """Return scheme, host and port of a normalised URL: what robots.txt and the pace of requests hold for."""
    return split_url(url)[0]


def _needed(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()
