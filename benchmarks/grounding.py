"""How well the score of grounding tells supported sentences from others, and its weights fitted anew.

    python -m benchmarks.grounding FOLDER [--limit N]

FOLDER holds files in the SQuAD format whose names end with `.en.json` or `.es.json`. Claims are made of them
(`benchmarks.grounding_claims`). The weights are fitted on every other article; all figures are of the rest.
The least similarity, by which sentences without a marker are attributed, is looked for in the same claims.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.extractive import CachedEmbedder
from benchmarks.grounding_claims import FALSE, JOINED, SUPPORTED, LabelledClaim, read_claims
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.grounding import SUPPORTED_FROM, Passage
from rag_server.generation.attribution import MIN_SIMILARITY
from rag_server.generation.grounding.calibration import MISSING_FACT_SCORE, SPOKEN, UNSPOKEN, Weights
from rag_server.generation.grounding.judge import Judge

Array = npt.NDArray[np.float64]

RIDGE = 1.0
"""Penalty on the squares of the weights: keeps one that few claims speak of from running away."""
STEPS = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim with its evidence."""

    claim: LabelledClaim
    features: Array
    parts: tuple[Array, ...]
    has_all_facts: bool
    similarity: float


def fit(features: Array, labels: Array, weights: Array) -> Array:
    """Return the weights of a logistic regression, the constant last, by Newton's method.

    Args:
        features: `(n, d)`.
        labels: `(n,)`, 0 or 1.
        weights: `(n,)`, of the examples.
    """
    columns = np.column_stack([features, np.ones(len(features))])
    penalty = RIDGE * np.eye(columns.shape[1])
    penalty[-1, -1] = 0.0
    found = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        probabilities = 1 / (1 + np.exp(-columns @ found))
        gradient = columns.T @ (weights * (labels - probabilities)) - penalty @ found
        curvature = weights * probabilities * (1 - probabilities)
        found += np.linalg.solve((columns.T * curvature) @ columns + penalty, gradient)
    return found


def balance(judged: Sequence[Judged]) -> Array:
    """Return weights by which both labels count alike, and each kind of a label like the others of it."""
    counts: dict[str, int] = {}
    for each in judged:
        counts[each.claim.kind] = counts.get(each.claim.kind, 0) + 1
    share = {
        True: sum(kind in (*SUPPORTED, JOINED) for kind in counts),
        False: sum(kind in FALSE for kind in counts),
    }
    raw = np.array([1 / (counts[each.claim.kind] * share[each.claim.is_supported]) for each in judged])
    return raw * len(judged) / raw.sum()


def scores_of(judged: Sequence[Judged], weights: Array) -> Array:
    """Return the scores that the server would give, caps included."""
    scores = np.array([_score(each, weights) for each in judged])
    missing = np.array([not each.has_all_facts for each in judged])
    scores[missing] = np.minimum(scores[missing], MISSING_FACT_SCORE)
    return np.asarray(scores)


def _score(judged: Judged, weights: Array) -> float:
    """Return the score of a claim: its own, or that of its weakest part where this is higher."""
    own, *parts = (
        1 / (1 + np.exp(-(each @ weights[:-1] + weights[-1]))) for each in (judged.features, *judged.parts)
    )
    return float(max(own, min(parts)) if parts else own)


def area(scores: Array, labels: Array) -> float:
    """Return the area under the ROC curve: how often a supported claim scores above another."""
    above = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def calibration_error(scores: Array, labels: Array, weights: Array, bins: int = 10) -> float:
    """Return the mean distance of score and share of support, over tenths of the scale (ECE)."""
    places = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for place in range(bins):
        here = places == place
        if here.any():
            mass = weights[here].sum()
            error += abs(float((weights[here] * (scores[here] - labels[here])).sum())) / mass * mass
    return error / float(weights.sum())


async def judge_all(claims: Sequence[LabelledClaim], embedder: CachedEmbedder, language: str) -> list[Judged]:
    """Return the claims with their evidence; quotes, which need none, are left out."""
    judge = Judge(embedder)
    judged = []
    for claim in claims:
        passages = [Passage(index, text) for index, text in enumerate(claim.passages)]
        evidence = await judge.evidence(claim.text, passages, language)
        judged += [
            Judged(
                claim,
                each.features.array(),
                tuple(part.features.array() for part in each.parts),
                not each.missing,
                each.supports[0].similarity,
            )
            for each in evidence[:1]
        ]
    return judged


def report(language: str, judged: Sequence[Judged], current: Weights) -> None:
    """Fit on one half, print what comes of the other."""
    fitted_on = [each for each in judged if each.claim.article % 2 == 0 and each.claim.kind != JOINED]
    tested = [each for each in judged if each.claim.article % 2]
    weights = fit(
        np.array([each.features for each in fitted_on]),
        np.array([float(each.claim.is_supported) for each in fitted_on]),
        balance(fitted_on),
    )
    print(f"\n{language}: {len(fitted_on)} claims fitted on, {len(tested)} tested")
    print("fitted ", ", ".join(f"{weight:.2f}" for weight in weights))
    print("in use ", ", ".join(f"{weight:.2f}" for weight in current.values))
    labels = np.array([float(each.claim.is_supported) for each in tested])
    for name, chosen in (("fitted", weights), ("in use", np.array(current.values))):
        scores = scores_of(tested, chosen)
        mass = balance(tested)
        right = (scores >= SUPPORTED_FROM) == (labels == 1)
        print(
            f"{name}: area {area(scores, labels):.3f}  right {np.average(right, weights=mass):.1%}  "
            f"calibration error {calibration_error(scores, labels, mass):.3f}"
        )
        for kind in (*SUPPORTED, JOINED, *FALSE):
            own = np.array([each.claim.kind == kind for each in tested])
            if own.any():
                supported = np.mean(scores[own] >= SUPPORTED_FROM)
                mean = scores[own].mean()
                print(f"  {kind:<15}{own.sum():6}  called supported {supported:6.1%}  mean score {mean:.2f}")
    similarities = np.array([each.similarity for each in tested])
    print("similarity     kept of paraphrases   kept of what stands elsewhere")
    for threshold in (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7):
        shares = [
            np.mean(similarities[[each.claim.kind == kind for each in tested]] >= threshold)
            for kind in ("paraphrase", "elsewhere")
        ]
        mark = "  <- in use" if threshold == MIN_SIMILARITY else ""
        print(f"  {threshold:.2f}  {shares[0]:18.1%}  {shares[1]:26.1%}{mark}")


async def run(folder: Path, limit: int | None) -> None:
    """Judge the claims of all files."""
    embedder = CachedEmbedder(await OnnxEmbedder.create())
    try:
        for path in sorted(folder.glob("*.e[ns].json")):
            language = path.suffixes[-2].removeprefix(".")
            claims = list(read_claims(path, language))
            if limit is not None and limit < len(claims):
                claims = [claims[index * len(claims) // limit] for index in range(limit)]
            judged = await judge_all(claims, embedder, language)
            report(language, judged, SPOKEN if language in embedder.model.languages else UNSPOKEN)
    finally:
        await embedder.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="judge this many claims of each file, evenly spread")
    options = parser.parse_args()
    asyncio.run(run(options.folder, options.limit))


if __name__ == "__main__":
    main()
