from __future__ import annotations

import pytest

from rag_server.validation.paths import entry_path


@pytest.mark.parametrize("key", ["price", "_", "Z9"])
def test_entry_path_of_a_name_continues_the_path(key: str) -> None:
    assert entry_path("document.metadata", key) == f"document.metadata.{key}"


@pytest.mark.parametrize(
    ("key", "quoted"),
    [("", '""'), ("a.b", '"a.b"'), ('a"]', '"a\\"]"'), ("a\r\n\0", '"a\\r\\n\\u0000"'), ("é", '"\\u00e9"')],
)
def test_entry_path_of_another_key_is_quoted(key: str, quoted: str) -> None:
    assert entry_path("labels", key) == f"labels[{quoted}]"


def test_entry_path_of_a_long_key_is_cut() -> None:
    assert entry_path("labels", "-" * 65) == f'labels["{"-" * 64}..."]'
