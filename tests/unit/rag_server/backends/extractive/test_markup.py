from __future__ import annotations

import pytest

from rag_server.backends.extractive.markup import markup_spans

CODE = '```json\n{"a": 1}\n```'


def shown(text: str) -> list[str]:
    return [text[span.start : span.end] for span in markup_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Words only. More of them.", []),
        (f"Before.\n\n{CODE}\n\nAfter.", ['```json\n{"a": 1}\n']),
        ("Before.\n\n~~~\ncode\n~~~\nAfter.", ["~~~\ncode\n"]),
        ("end of code\n```\nAfter.", ["end of code\n"]),
        ("Before.\n```sh\nbegin of code", ["```sh\nbegin of code"]),
        ("| name | price |\n|---|---:|\n| bolt | 3 |", ["| name | price |\n|---|---:|"]),
        ("name | price\n--- | ---\nbolt | 3", ["name | price\n--- | ---"]),
        ("Either | or, he said.\nThat is all.", []),
    ],
)
def test_markup_is_found_and_prose_is_not(text: str, expected: list[str]) -> None:
    assert shown(text) == expected
