from __future__ import annotations

import pytest

from rag_server.generation.filters.blocklist import BlocklistError, BlocklistFilter, fold
from rag_server.generation.filters.filter import Action
from rag_server.testing.filter_suite import FilterSuite

PHRASES = ["Operación Cóndor", "secret", "plan b", "plan b prime", "año"]


def found(text: str, *phrases: str) -> list[str]:
    return [text[each.start : each.end] for each in BlocklistFilter(phrases or PHRASES).find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The SECRET is out", ["SECRET"]),
        ("operacion condor!", ["operacion condor"]),
        ("OPERACIO\u0301N CO\u0301NDOR", ["OPERACIO\u0301N CO\u0301NDOR"]),
        ("Operación,\n cóndor", ["Operación,\n cóndor"]),
        ("se\u200bcr\u00adet", ["se\u200bcr\u00adet"]),
        ("plan b prime, plan b", ["plan b prime", "plan b"]),
        ("plan b  plan b", ["plan b", "plan b"]),
        ("un año", ["año"]),
        ("un an\u0303o", ["an\u0303o"]),
    ],
)
def test_phrase_is_found_whatever_its_case_accents_and_what_cannot_be_seen(
    text: str, expected: list[str]
) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text", ["secretary", "unsecret", "top_secret", "planb", "plan c", "un ano", "operación del cóndor"]
)
def test_parts_of_words_and_other_words_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_words_far_apart_are_no_phrase() -> None:
    assert found("plan" + " " * 50 + "b") == []


def test_fold_takes_accents_and_keeps_the_enye() -> None:
    assert [fold(word) for word in ("ÁÉÍ", "Ñandú", "n\u0301")] == ["aei", "ñandu", "n"]


@pytest.mark.parametrize("phrase", ["", " - ", "a b c d e f g h i", "x" * 49])
def test_phrase_that_cannot_be_looked_for_is_refused(phrase: str) -> None:
    with pytest.raises(BlocklistError):
        BlocklistFilter([phrase])


class TestBlocklistFilter(FilterSuite):
    @pytest.fixture
    def checked(self) -> BlocklistFilter:
        return BlocklistFilter(PHRASES, Action.REDACT)

    @pytest.fixture
    def texts(self) -> list[str]:
        return ["the plan b primer and Plan-B prime", "Operación   Cóndor: secret", "operación secret"]
