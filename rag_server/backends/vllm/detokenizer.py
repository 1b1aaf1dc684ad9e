"""Turns the tokens of an answer into text, as many at once as have come.

vLLM does it token by token, which is a tenth of what a stream costs this process; all tokens of a piece
together take a quarter of that. It has to do it where it looks for strings at which an answer stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:  # importing it takes seconds
    from vllm import SamplingParams

_CONTEXT: Final = 8
"""Tokens: what stands before decides whether a text begins with a space, and whether a character is whole."""
_NOT_THE_BEGINNING: Final = "Invalid prefix encountered"
"""How the library's error begins that says that what was given out is not what the text begins with."""


class Detokenizer:
    """The text of one answer. For one thread at a time."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        """Begin an answer to `prompt`."""
        self._tokenizer = tokenizer
        self._before = list(prompt[-_CONTEXT:])
        self._held: list[int] = []
        """Tokens whose text has not been given out, since it ends within a character."""
        self._stream = self._begun()

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
        text = self._step(spoken) if spoken else None
        if text is None:
            self._held += spoken
            return self._rest() if finish_reason is not None else ""
        self._before, self._held = [*self._before, *self._held, *spoken][-_CONTEXT:], []
        return text

    def _rest(self) -> str:
        """Return the text of what is held, as far as it is whole."""
        self._stream = self._begun()
        held, self._held = self._held, []
        return "".join(self._step([token]) or "" for token in held)

    def _step(self, tokens: list[int]) -> str | None:
        try:
            return self._stream.step(self._tokenizer, tokens)
        except Exception as error:
            if not str(error).startswith(_NOT_THE_BEGINNING):
                raise
            # Some tokenizers change what they have said, once they know how it goes on: it stands as it is.
            self._before = []
            self._stream = self._begun()
            return self._stream.step(self._tokenizer, [*self._held, *tokens])

    def _begun(self) -> DecodeStream:
        return DecodeStream(ids=self._before, skip_special_tokens=True)
