"""Turns the tokens of an answer into text, as many at once as have come.

vLLM does it token by token, which is a tenth of what a stream costs this process, and several times as much
as all tokens of a piece together. It has to do it where it looks for strings at which an answer stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:  # importing it takes seconds
    from vllm import SamplingParams

_CONTEXT: Final = 8
"""Tokens of the prompt, if their text is whole: it decides whether an answer begins with a space."""
_BROKEN: Final = "\ufffd"
"""What stands for a part of a character."""
_NOT_THE_BEGINNING: Final = "Invalid prefix encountered"
"""How the library's error begins that says that what was given out is not what the text begins with."""


class Detokenizer:
    """The text of one answer: what vLLM makes of it, as long as the tokens are those of a text.

    For one thread at a time.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        """Begin an answer to `prompt`."""
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=_end_of(prompt, tokenizer), skip_special_tokens=True)

    @classmethod
    def instead_of_vllm(
        cls, tokenizer: Any, prompt: Sequence[int], sampling: SamplingParams
    ) -> Detokenizer | None:
        """Return one that does vLLM's work, which `sampling` is told to leave; None: vLLM has to do it."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return None
        if sampling.stop or sampling.include_stop_str_in_output or not sampling.skip_special_tokens:
            return None
        sampling.detokenize = False
        return cls(backend, prompt)

    def text_of(self, tokens: Sequence[int], finish_reason: str | None) -> str:
        """Return the text of the next tokens. A character of which one is missing comes later, or never.

        Args:
            tokens: The next ones.
            finish_reason: vLLM's word; None: more are to come. `stop`: the last one has ended the answer, and
                is no part of it.
        """
        spoken = list(tokens[:-1] if finish_reason == "stop" else tokens)
        if not spoken:
            return ""
        ahead = copy(self._stream)
        try:
            text = ahead.step(self._tokenizer, spoken)
        except Exception as error:
            if not _is_change(error):
                raise
            text = None
        if text is None:  # it ends within a character: what is before that is not kept waiting
            return "".join(self._text_of_one(token) for token in spoken)
        self._stream = ahead
        return text

    def _text_of_one(self, token: int) -> str:
        try:
            text = self._stream.step(self._tokenizer, token)
        except Exception as error:
            if not _is_change(error):
                raise
            self._stream = DecodeStream(skip_special_tokens=True)
            text = self._stream.step(self._tokenizer, token)
        return text or ""


def _is_change(error: Exception) -> bool:
    """Return whether `error` says that a tokenizer changes what it has said, now that it knows more."""
    return str(error).startswith(_NOT_THE_BEGINNING)


def _end_of(prompt: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """Return the last tokens of `prompt`, enough of them for a text that ends with a whole character."""
    count = _CONTEXT
    while True:
        tokens = list(prompt[-count:])
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        if count >= len(prompt) or (text and not text.endswith(_BROKEN)):
            return tokens
        count *= 2
