"""The models that can be asked, and which of them a request gets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rag_server.backends.protocols import Generator, GeneratorModel
from rag_server.errors import InvalidArgument
from rag_server.generation.admission import Gate

DEFAULT: Final = "default"
"""The alias that requests get which name no model."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A generator and the permits to ask it."""

    generator: Generator
    gate: Gate

    @property
    def name(self) -> str:
        """What requests choose it by."""
        return self.generator.model.name


class Models:
    """Finds the models for a request by name or alias."""

    def __init__(
        self,
        served: Sequence[ServedModel],
        aliases: Mapping[str, Mapping[str, float]] | None = None,
        fallbacks: Sequence[str] = (),
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Serve models, the first of which is `default` unless there is such an alias.

        Args:
            served: The models.
            aliases: The models that each stands for, with weights: a champion and a challenger.
            fallbacks: Models to ask in turn when the chosen one cannot answer.
            draw: Returns a number from 0 to 1, exclusive, that decides between the models of an alias.
        """
        self._served = {each.name: each for each in served}
        self._aliases = {DEFAULT: {served[0].name: 1.0}, **(aliases or {})}
        self._fallbacks = tuple(fallbacks)
        self._draw = draw

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """All models."""
        return tuple(self._served.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models, the default one first."""
        default = next(iter(self._aliases[DEFAULT]))
        return (default, *(name for name in self._served if name != default))

    @property
    def aliases(self) -> Mapping[str, Mapping[str, float]]:
        """Model and weight by alias."""
        return self._aliases

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Names of the models that are asked when the chosen one cannot answer."""
        return self._fallbacks

    def knows(self, name: str) -> bool:
        """Return whether there is a model, or an alias, of that name."""
        return name in self._served or name in self._aliases

    def route(self, name: str, *, path: str = "generation.model") -> tuple[ServedModel, ...]:
        """Return the model for `name`, empty for the default, and the others to ask when it cannot answer.

        Raises:
            InvalidArgument: `MODEL_UNKNOWN`, naming the field `path` and the models that there are.
        """
        shares = self._aliases.get(name or DEFAULT)
        chosen = name if shares is None else self._drawn(shares)
        if chosen not in self._served:
            known = sorted({*self._served, *self._aliases})
            error = InvalidArgument.for_field(
                path, f"must be one of {', '.join(known)}", reason="MODEL_UNKNOWN"
            )
            error.metadata["models"] = ", ".join(known)
            raise error
        others = [each for each in self._fallbacks if each != chosen]
        return tuple(self._served[each] for each in (chosen, *others))

    async def count_tokens(self, name: str, texts: Sequence[str]) -> tuple[GeneratorModel, list[int]]:
        """Return the model for `name`, and the tokens that each text has for it."""
        generator = self.route(name, path="model")[0].generator
        return generator.model, await asyncio.to_thread(generator.count_tokens, texts)

    def _drawn(self, shares: Mapping[str, float]) -> str:
        left = self._draw() * sum(shares.values())
        for model, weight in shares.items():
            left -= weight
            if left < 0:
                return model
        return list(shares)[-1]  # rounding
