from __future__ import annotations

import pytest

from rag_server.backends.extractive.quotable import is_quotable


@pytest.mark.parametrize(
    "sentence",
    [
        "He died in 1943.",
        "Cuesta 10 €.",
        "| Basic | 10 EUR per month |",
        "pip install rag-server",
        "東京は日本の首都です。",
        "ภาษาไทยเป็นภาษาราชการ",
        '"Is it?", he asked them.',
        "Go on!",
        "a_b c",
    ],
)
def test_is_quotable_statement_is(sentence: str) -> None:
    assert is_quotable(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "# The history of Tesla",
        "When did he die?",
        '¿Cuándo murió Tesla?"',
        "Figure 3",
        "Go on",
        "a_b",
        "_a_ - _b_ - _c_ - _d_",
        "|---|:---:|---|",
        "{};[]()=>{a:b,c:d,e:f};;",
        "… … …",
    ],
)
def test_is_quotable_debris_is_not(sentence: str) -> None:
    assert not is_quotable(sentence)
