"""Textual formats that a few lines give away: e-mail messages, reStructuredText, Org."""

from __future__ import annotations

import re

_HEADER = re.compile(r"([!-9;-~]{1,100}):[ \t]?")
_MAX_HEADER_LINES = 500
_MIN_KNOWN = 3
_WRITTEN_BY_PEOPLE = frozenset({"from", "to", "cc", "subject", "date", "reply-to"})
_WRITTEN_BY_PROGRAMS = frozenset(
    {
        *("message-id", "mime-version", "received", "return-path", "delivered-to", "content-type"),
        *(
            "content-transfer-encoding",
            "dkim-signature",
            "x-mailer",
            "user-agent",
            "in-reply-to",
            "references",
        ),
    }
)
_ORG_START = re.compile(
    r"\s*(?:# -\*- mode: org|#\+(?:title|author|date|options|startup|language|filetags|property|setupfile):)",
    re.IGNORECASE,
)
_RST_DIRECTIVE = re.compile(
    r"^\.\. (?:[a-z][a-z-]{1,40}::(?:\s|$)|_[^\s:][^:\n]{0,200}:(?:\s|$))", re.MULTILINE
)
_RST_TITLE = re.compile(r"^(\S.{0,200})\n([=\-~^\"'`#*+]{3,})[ \t]*$", re.MULTILINE)


def is_message(sample: str) -> bool:
    """Whether `sample` begins with the header of an e-mail message (RFC 5322).

    A note that begins with `From:` and `Subject:` is none: a field that only programs write is needed.
    """
    names: set[str] = set()
    for index, line in enumerate(sample.split("\n", _MAX_HEADER_LINES)[:_MAX_HEADER_LINES]):
        if not line.strip():
            break
        if line[0] in " \t" and index:
            continue
        found = _HEADER.match(line)
        if found is None:
            return False
        names.add(found[1].lower())
    known = names & (_WRITTEN_BY_PEOPLE | _WRITTEN_BY_PROGRAMS)
    has_sender = bool(names & {"from", "received", "return-path"})
    return has_sender and len(known) >= _MIN_KNOWN and bool(names & _WRITTEN_BY_PROGRAMS)


def is_org(sample: str) -> bool:
    """Whether `sample` begins with a keyword of Org that speaks of the whole file."""
    return bool(_ORG_START.match(sample))


def is_restructured(sample: str) -> bool:
    """Whether `sample` has a directive or target of reStructuredText, and a title underlined to its end."""
    sample = sample.replace("\r\n", "\n")
    if not _RST_DIRECTIVE.search(sample):
        return False
    return any(len(title[2]) >= len(title[1].rstrip()) for title in _RST_TITLE.finditer(sample))
