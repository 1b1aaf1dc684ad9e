"""The pieces of a chat completion: what one event of the stream says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rag_server.domain.generation import FinishReason, Usage

DONE = b"[DONE]"
"""The data of the last event."""

_FILTERED = "prompt_filter_results"
"""What Azure sends first, without any choice: how its filters judge the prompt."""

_REASONS = {
    "stop": FinishReason.COMPLETE,
    "eos": FinishReason.COMPLETE,
    "end_turn": FinishReason.COMPLETE,
    "length": FinishReason.MAX_TOKENS,
    "max_tokens": FinishReason.MAX_TOKENS,
    "content_filter": FinishReason.POLICY,
    "safety": FinishReason.POLICY,
}


class InvalidCompletion(Exception):
    """The data is not a piece of a chat completion."""


class ProviderError(Exception):
    """The provider says, in the stream, that it cannot go on."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event adds to the answer."""

    text: str = ""
    reason: FinishReason | None = None
    usage: Usage | None = None


def parse_piece(data: bytes) -> Piece:
    """Return what `data`, a JSON object, adds.

    Reasoning that a provider sends beside the answer is left out.

    Raises:
        InvalidCompletion: It is not such an object.
        ProviderError: It is an error.
    """
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidCompletion from error
    if not isinstance(message, dict):
        raise InvalidCompletion
    if message.get("error"):
        raise ProviderError
    choices = message.get("choices")
    usage = _usage(message.get("usage"))
    says_nothing = usage is None and _FILTERED not in message
    if not isinstance(choices, list) or (not choices and says_nothing):
        raise InvalidCompletion
    if not choices:
        return Piece(usage=usage)
    choice = choices[0]
    if not isinstance(choice, dict):
        raise InvalidCompletion
    # `message` where a provider answers in one piece though it was asked for a stream
    delta = choice.get("delta", choice.get("message")) or {}
    text = delta.get("content") if isinstance(delta, dict) else 0
    if not isinstance(text, str | None):
        raise InvalidCompletion
    return Piece(_storable(text or ""), _reason(choice.get("finish_reason")), usage)


def _reason(name: Any) -> FinishReason | None:
    if name is None or name == "":
        return None
    reason = _REASONS.get(name.lower()) if isinstance(name, str) else None
    if reason is None:  # a call of a tool, say, which nobody asked for
        raise InvalidCompletion
    return reason


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    counts = [found.get("prompt_tokens", 0), found.get("completion_tokens", 0)]
    if not all(type(count) is int and 0 <= count < 2**31 for count in counts):
        return None
    return Usage(*counts)


def _storable(text: str) -> str:
    """Return `text` without lone surrogates, which JSON can escape and UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode("utf-8")
