"""How many tokens a text has, guessed from its characters."""

from __future__ import annotations

_INITIAL_CHARACTERS_PER_TOKEN = 4.0
_SMOOTHING = 0.1


class TokenRatio:
    """A running mean of characters per token, for estimates that must not wait for a tokenizer."""

    def __init__(self) -> None:
        self.characters_per_token = _INITIAL_CHARACTERS_PER_TOKEN

    def observe(self, characters: int, tokens: int) -> None:
        """Take into account a text of so many characters and tokens, at least one of each."""
        if characters and tokens:
            self.characters_per_token += _SMOOTHING * (characters / tokens - self.characters_per_token)

    def tokens(self, characters: int) -> float:
        """Return the tokens that a text of so many characters is expected to have."""
        return characters / self.characters_per_token
