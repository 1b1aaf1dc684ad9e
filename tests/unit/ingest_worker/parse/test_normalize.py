from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_worker.parse.normalize import _stands_alone, normalize


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


@settings(deadline=None)
@given(
    st.text(st.one_of(st.characters(), st.sampled_from("\r\n\u0301\u1161\u11a8가각\u00ad\x00e "))),
    st.integers(1, 9),
)
def test_normalize_in_slices_equals_normalize_at_once(text: str, size: int) -> None:
    whole = normalize(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest_worker.parse.normalize._SLICE_CHARACTERS", size)
        assert normalize(text) == whole


def test_normalize_no_character_that_composes_with_one_before_it_starts_a_slice() -> None:
    composed = (unicodedata.decomposition(chr(code)).split() for code in range(sys.maxunicode))
    seconds = {chr(int(parts[1], 16)) for parts in composed if len(parts) == 2 and "<" not in parts[0]}
    seconds |= {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    alone = {character for character in seconds if _stands_alone(character)}
    assert all(unicodedata.normalize("NFC", unicodedata.normalize("NFD", c)) == c for c in alone)
    assert not alone
