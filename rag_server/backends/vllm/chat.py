"""Messages as the tokens that a model was trained to see: by its own chat template and tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tokenizers import Tokenizer

from rag_server.domain.generation import Message, Role
from rag_server.errors import FailedPrecondition

DEFAULT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n{% endfor %}"
    "Assistant:"
)
"""For a model without a template of its own, which was not trained on messages."""

_BREAK: Final = "\u200b"


class Chat:
    """Renders, encodes and counts for one model. Pure CPU, thread-safe."""

    def __init__(self, tokenizer: Any, name: str, template_options: Mapping[str, Any]) -> None:
        """Find out what the model's template takes.

        Args:
            tokenizer: One that several threads may use.
            name: Of the model.
            template_options: Further variables of the template, such as `enable_thinking`.

        Raises:
            FailedPrecondition: `VLLM_NOT_STARTED`.
        """
        self._tokenizer = tokenizer
        self._encode = _encoder(tokenizer)
        self._options = dict(template_options)
        self._template = None if tokenizer.chat_template else DEFAULT_TEMPLATE
        controls = sorted(set(tokenizer.get_added_vocab()) | set(tokenizer.all_special_tokens), key=len)
        self._controls = re.compile(
            "|".join(re.escape(each) for each in reversed(controls) if each) or "(?!)"
        )
        self._takes_system = True
        self._probe(name)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens."""
        return len(self._encode(text, add_special_tokens=False))

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the prompt, up to where the answer begins."""
        told = [{"role": each.role.value, "content": self._defused(each.text)} for each in messages]
        if not self._takes_system and told and messages[0].role is Role.SYSTEM:
            system, *told = told
            first = told[0] if told else {"role": Role.USER.value, "content": ""}
            told = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *told[1:]]
        text = self._tokenizer.apply_chat_template(
            told, chat_template=self._template, tokenize=False, add_generation_prompt=True, **self._options
        )
        # A model's own template writes the special tokens itself.
        return self._encode(text, add_special_tokens=self._template is not None)

    def _defused(self, text: str) -> str:
        """Return `text` without the model's control tokens: what is data must not end a turn."""
        return self._controls.sub(lambda match: match.group()[:1] + _BREAK + match.group()[1:], text)

    def _probe(self, name: str) -> None:
        """Find out whether the template takes a system message."""
        messages = (Message(Role.SYSTEM, "a"), Message(Role.USER, "a"))
        try:
            try:
                self.encode(messages)
            except Exception:  # noqa: BLE001 - templates refuse what they do not know by raising anything
                self._takes_system = False
                self.encode(messages)
        except Exception as error:
            raise FailedPrecondition(
                "VLLM_NOT_STARTED",
                f"the chat template of the model {name!r} refuses a question as well as its options",
                metadata={"model": name},
            ) from error


def _encoder(tokenizer: Any) -> Callable[..., list[int]]:
    """Return the tokenizer's `encode`, in two thirds of the time where it is one of the library `tokenizers`.

    Then it is a copy, which nobody else has truncate or pad, and which need not say where each token stands.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return lambda text, *, add_special_tokens: list(
            tokenizer.encode(text, add_special_tokens=add_special_tokens)
        )
    own = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()
    return lambda text, *, add_special_tokens: (
        own.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids
    )
