"""One figure of a benchmark beside its target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    target: float | None = None
    is_at_least: bool = False
    """Whether the target is a lower bound."""

    @property
    def is_met(self) -> bool:
        """Whether the target is reached; true where there is none."""
        if self.target is None:
            return True
        return self.value >= self.target if self.is_at_least else self.value <= self.target

    def __str__(self) -> str:
        line = f"{self.name:<62}{self.value:>9.3g} {self.unit:<3}"
        if self.target is None:
            return line
        bound = "at least" if self.is_at_least else "at most"
        return f"{line} target: {bound} {self.target:g}{'' if self.is_met else '   MISSED'}"
