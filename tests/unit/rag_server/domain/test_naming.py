from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.naming import document_id_for
from ragctl import document_ids

VALID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,254}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("guide.md", "guide.md"),
        ("docs/a_b.md", "docs/a_b.md"),
        ("https://example.com/faq.html", "https://example.com/faq.html"),
        ("informe año.pdf", "informe-ano-d5f2dd77.pdf"),
    ],
)
def test_naming_known_name_gives_its_id(name: str, expected: str) -> None:
    assert document_id_for(name) == expected


@given(st.text(min_size=1, max_size=400))
def test_naming_any_name_gives_a_valid_id_that_ragctl_gives_too(name: str) -> None:
    made = document_id_for(name)
    assert VALID.fullmatch(made)
    assert made == document_ids.document_id_for(name)


@given(st.text(min_size=1, max_size=50), st.text(min_size=1, max_size=50))
def test_naming_different_names_stay_different(one: str, other: str) -> None:
    assert (document_id_for(one) == document_id_for(other)) == (one == other)
