"""Personal data: e-mail addresses, telephones, accounts, cards, identity numbers and addresses of machines.

By forms and check digits, without a model. Names and postal addresses need one, such as those that presidio
asks: that would be another `Filter`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from rag_server.generation.filters.filter import Action, Found
from rag_server.generation.filters.pii_patterns import KINDS, PATTERNS, REACH, PiiPattern

_RUN: Final = re.compile(r"\S+")
_PART: Final = re.compile(r".*\d.*|[A-Z]{1,4}|\W+", re.DOTALL)
"""What can be one word of several: see `pii_patterns`."""


class PiiFilter:
    """A `Filter` for personal data of some kinds."""

    name = "pii"
    reach = REACH

    def __init__(self, kinds: Collection[str] = KINDS, action: Action = Action.REDACT) -> None:
        self.action = action
        self._patterns = tuple(each for each in PATTERNS if each.kind in kinds)

    def find(self, text: str, offset: int = 0) -> Sequence[Found]:
        """Return what was found; of two that overlap, the one that begins first, then the longer one."""
        found = [each for pattern in self._patterns for each in _matches(pattern, text)]
        found.sort(key=lambda each: (each.start, -each.end))
        kept: list[Found] = []
        for each in found:
            if not kept or each.start >= kept[-1].end:
                kept.append(each)
            elif each.end > kept[-1].end:  # nothing of either stays
                kept[-1] = Found(kept[-1].start, each.end, kept[-1].kind)
        return kept

    def undecided(self, text: str) -> int:
        """Return where the words at the end begin that may all be parts of one number."""
        start = len(text)
        cut = max(0, len(text) - self.reach)
        for run in reversed(list(_RUN.finditer(text, cut))):
            if not _PART.fullmatch(run.group()):
                break
            start = run.start()
        return start


def _matches(pattern: PiiPattern, text: str) -> Iterator[Found]:
    position = 0
    while (match := pattern.pattern.search(text, position)) is not None:
        end = pattern.check(match)
        if end is None:
            position = match.start() + 1
        else:
            yield Found(match.start(), end, pattern.kind)
            position = end
