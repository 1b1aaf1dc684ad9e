"""From evidence to the probability that a sentence is supported: a logistic function, fitted.

Platt, "Probabilistic Outputs for Support Vector Machines", 1999. `benchmarks/grounding.py` makes the
claims and fits the weights; docs/decisions/0028 has the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_server.domain.grounding import SUPPORTED_FROM
from rag_server.generation.grounding.evidence import Features

MISSING_FACT_SCORE: Final = SUPPORTED_FROM / 2
"""The highest score of a sentence with a number or a name that the supports' passages do not have."""

QUOTE_SCORE: Final = 1.0
"""The score of a sentence that stands in a passage word for word."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the features, in their order, with the constant last."""

    values: tuple[float, ...]

    def probability(self, features: Features) -> float:
        """Return the probability of support, 0 to 1."""
        weights: npt.NDArray[np.float64] = np.array(self.values)
        logit = float(weights[:-1] @ features.array() + weights[-1])
        return 1 / (1 + math.exp(-logit))


SPOKEN: Final = Weights((1.1, 3.7, -2.4, -2.3, -4.8, -2.4))
"""For languages that the embedding model was trained for. Fitted on English."""

UNSPOKEN: Final = Weights((0.0, 3.7, -2.5, -1.9, -4.0, -1.7))
"""For others, where the words carry all: the cosine was found to tell nothing, and is left out. Fitted on
Spanish with an English model."""
