"""Ways to cut a stream: what comes out must not depend on them."""

from __future__ import annotations

from hypothesis import strategies as st


def pieces(text: str, cuts: list[int]) -> list[str]:
    """Return `text`, cut at each of `cuts` that lies in it."""
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


CUTS = st.lists(st.integers(0, 500), max_size=12)
