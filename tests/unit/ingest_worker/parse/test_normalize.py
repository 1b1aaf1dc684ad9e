from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_worker.parse.normalize import normalize


def test_normalize_line_ends_become_line_feeds() -> None:
    assert normalize("a\r\nb\rc\x0cd\x85e\u2028f\u2029g\x0bh") == "a\nb\nc\nd\ne\nf\ng\nh"


def test_normalize_controls_and_invisible_marks_are_removed() -> None:
    assert normalize("a\x00b\x1b\x7fc\td\ufeff\u00ade\ufffe\ud800") == "abc\tde"


def test_normalize_decomposed_text_is_composed() -> None:
    assert normalize("man\u0303ana") == "mañana"


def test_normalize_endless_combining_marks_are_cut() -> None:
    flooded = "a" + "\u0316\u0301" * 200_000 + "b"
    assert len(normalize(flooded)) <= 33
    assert normalize(flooded).endswith("b")


@settings(deadline=None)
@given(st.text())
def test_normalize_any_text_is_idempotent_and_nfc(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(
        unicodedata.category(character) in {"Cc", "Cs"} for character in once if character not in "\n\t"
    )
