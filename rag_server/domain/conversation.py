"""Conversations: questions and answers that follow each other."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_TITLE_CHARACTERS = 100
"""The greatest length of a title that a question gives, in code points."""

_JOINERS = "\u200c\u200d"
_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""Two of them are a flag."""


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """What was said before a question."""

    role: Role
    text: str
    sequence: int = field(default=0, compare=False, repr=False)
    """Where it stands in its stored conversation, which is no part of what was said; 0: nowhere."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands for the oldest messages of a conversation."""

    text: str
    """A model's words."""
    message_count: int
    """How many messages it stands for that a generator is not told themselves."""


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """What stands for the oldest messages of a conversation, as stored."""

    text: str
    """Empty: there is none."""
    sequence: int
    """Of the last message that it stands for."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, as stored."""

    tenant_id: str
    id: str
    title: str
    """Empty: the next question gives it."""
    language: str
    """Of the last question of which it could be told; empty: unknown."""
    message_count: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a conversation, as stored."""

    conversation_id: str
    id: str
    sequence: int
    """Grows with each message; there may be gaps."""
    role: Role
    text: str
    create_time: datetime
    question_id: str = ""
    """What an answer answers; empty: it is a question."""
    answer: bytes | None = None
    """How an answer was made, encoded by whoever recorded it; None: it is a question."""


@dataclass(frozen=True, slots=True)
class ConversationRef:
    """The conversation that a question continues."""

    id: str
    request_id: str = ""
    """Which call it is: the same one again gets the same answer. Empty: a call of its own."""
    body_hash: str = ""
    """Digest of the request, to tell another one with the same `request_id`."""


@dataclass(frozen=True, slots=True)
class TurnLease:
    """The right to answer one question of a conversation, which nobody else continues meanwhile."""

    tenant_id: str
    conversation_id: str
    token: str
    """New with each turn, never given out twice."""
    question_id: str
    question_sequence: int
    answer_id: str
    message_count: int
    """Messages that stand before the question."""


@dataclass(frozen=True, slots=True)
class AnsweredBefore:
    """What a call is told that was answered already."""

    conversation_id: str
    question_id: str
    answer: StoredMessage


@dataclass(frozen=True, slots=True)
class TurnInfo:
    """What a question continues, and what was made of that."""

    conversation_id: str = ""
    """Empty: nothing is stored."""
    question_id: str = ""
    answer_id: str = ""
    history_message_count: int = 0
    """Earlier messages that the answer takes into account."""
    history_left_out_count: int = 0
    """Earlier messages that it does not, nor a summary of them."""
    search_question: str = ""
    """What the passages were searched with; empty: the question itself."""
    summarised_message_count: int = 0
    """Earlier messages that it takes into account in short."""


def title_of(question: str) -> str:
    """Return the words that begin `question`, at most `MAX_TITLE_CHARACTERS` code points, on one line.

    What acts on a terminal or turns the direction of text is left out. A first word that is longer is cut,
    but not within what is drawn as one sign.
    """
    shown = "".join(
        " " if unicodedata.category(character) == "Cc" else character
        for character in question
        if unicodedata.category(character) not in {"Cf", "Cs"} or character in _JOINERS
    )
    line = " ".join(shown.split())
    if len(line) <= MAX_TITLE_CHARACTERS:
        return line
    words, _, _ = line[: MAX_TITLE_CHARACTERS + 1].rpartition(" ")
    return words or _cut(line)


def _cut(line: str) -> str:
    """Return the first `MAX_TITLE_CHARACTERS` code points at most, up to the end of a grapheme cluster.

    The rules of Unicode's annex 29 for accents, emoji and flags; a cluster that is longer is cut after all.
    """
    end = MAX_TITLE_CHARACTERS
    while end and _goes_on(line, end):
        end -= 1
    return line[: end or MAX_TITLE_CHARACTERS]


def _goes_on(line: str, end: int) -> bool:
    """Return whether the code point at `end` belongs to the sign before it."""
    here = line[end]
    if here in _FLAG_LETTERS:
        before = line[:end]
        return (end - len(before.rstrip(_FLAG_LETTERS))) % 2 == 1
    is_joined = here in _JOINERS or line[end - 1] == "\u200d"
    return is_joined or here in _SKIN_TONES or unicodedata.category(here).startswith("M")
