"""What reads the text in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class RecognitionFailed(Exception):
    """A picture could not be read; other pictures may be."""


@dataclass(frozen=True, slots=True)
class TextBox:
    """A run of text in a picture: its edges in pixels from the upper left corner."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """From the upper to the lower edge, in pixels."""
        return self.bottom - self.top


class Recogniser(Protocol):
    """Finds runs of text in pictures. One call at a time."""

    def read(self, picture: NDArray[np.uint8]) -> list[TextBox]:
        """Return the text in `picture`, (height, width) grey values, in any order; empty where there is none.

        Raises `RecognitionFailed`.
        """
        ...
