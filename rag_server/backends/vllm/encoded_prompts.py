"""Prompts that were encoded, to be counted first and asked then, and perhaps again: questions come back.

Encoding a long one takes milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from cachetools import LRUCache

from rag_server.domain.generation import Message

MAX_TOKENS: Final = 262_144
"""Of all prompts together, some 10 MB. What nobody has come for the longest makes room; one that is longer by
itself is encoded each time."""


class EncodedPrompts:
    """The tokens of prompts by their messages. For any thread."""

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        self._prompts: LRUCache[tuple[Message, ...], list[int]] = LRUCache(max_tokens, getsizeof=len)
        self._lock = threading.Lock()

    def keep(self, messages: Sequence[Message], tokens: list[int]) -> None:
        """Keep the tokens of a prompt, if there is room for them."""
        if len(tokens) <= self._prompts.maxsize:
            with self._lock:
                self._prompts[tuple(messages)] = tokens

    def find(self, messages: Sequence[Message]) -> list[int] | None:
        """Return the tokens of a prompt, which stay as they are; None: they are not known."""
        with self._lock:
            return self._prompts.get(tuple(messages))
