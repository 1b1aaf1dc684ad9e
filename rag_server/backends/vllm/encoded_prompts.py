"""Prompts that were encoded to be counted, until they are asked: encoding a long one takes milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from cachetools import LRUCache

from rag_server.domain.generation import Message

MAX_PROMPTS: Final = 64
"""What nobody comes for makes room: a prompt that is not asked, or asked of another model."""


class EncodedPrompts:
    """The tokens of prompts by their messages. For any thread."""

    def __init__(self, max_prompts: int = MAX_PROMPTS) -> None:
        self._prompts: LRUCache[tuple[Message, ...], list[int]] = LRUCache(max_prompts)
        self._lock = threading.Lock()

    def keep(self, messages: Sequence[Message], tokens: list[int]) -> None:
        """Keep the tokens of a prompt."""
        with self._lock:
            self._prompts[tuple(messages)] = tokens

    def take(self, messages: Sequence[Message]) -> list[int] | None:
        """Return the tokens of a prompt, and forget them; None: they are not known."""
        with self._lock:
            return self._prompts.pop(tuple(messages), None)
