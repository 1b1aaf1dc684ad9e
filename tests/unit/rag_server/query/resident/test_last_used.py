from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rag_server.domain.collection import Collection
from rag_server.query.resident import last_used as last_used_module
from rag_server.query.resident.last_used import LastUsed, Use
from rag_server.testing.chunks import make_collection

HOUR = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resident" / "last_used.json"


def named(name: str) -> Collection:
    return replace(make_collection(), id=name, uid=name * 32)


def names(uses: list[Use]) -> str:
    return "".join(use.collection_id for use in uses)


def test_last_used_collections_are_read_latest_first(path: Path) -> None:
    last_used = LastUsed(path)
    assert last_used.read() == []
    last_used.remember([(named("a"), 2 * HOUR), (named("b"), 3 * HOUR), (named("c"), HOUR)])
    last_used.write()
    again = LastUsed(path)
    assert names(again.read()) == "bac"
    assert again.read()[0] == Use("acme", "b", "b" * 32, 3 * 3600)
    again.remember([(named("c"), 4 * HOUR + 59), (named("d"), HOUR)])
    again.write()
    assert names(LastUsed(path).read()) == "cbad"


def test_last_used_is_written_only_when_it_has_changed(path: Path) -> None:
    last_used = LastUsed(path)
    last_used.write()
    assert not path.exists()
    last_used.remember([(named("a"), HOUR)])
    last_used.write()
    path.unlink()
    last_used.remember([(named("a"), HOUR + 59)])  # within a minute: the same use
    last_used.write()
    assert not path.exists()
    last_used.remember([(named("a"), HOUR + 60)])
    last_used.write()
    assert path.exists()


def test_last_used_forgets_for_good(path: Path) -> None:
    """Also what was read from the file and did not change otherwise."""
    last_used = LastUsed(path)
    last_used.remember([(named("a"), HOUR), (named("b"), HOUR)])
    last_used.write()
    again = LastUsed(path)
    again.read()
    again.forget("a" * 32)
    again.forget("unknown")
    again.write()
    assert names(LastUsed(path).read()) == "b"


def test_last_used_keeps_what_was_asked_before_the_file_was_read(path: Path) -> None:
    last_used = LastUsed(path)
    last_used.remember([(named("a"), HOUR)])
    last_used.write()
    again = LastUsed(path)
    again.remember([(named("b"), 2 * HOUR)])
    again.read()
    again.write()
    assert names(LastUsed(path).read()) == "ba"


def test_last_used_remembers_a_bounded_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_used_module, "_KEPT", 3)
    last_used = LastUsed(path)
    last_used.remember([(named(name), index * HOUR) for index, name in enumerate("abcde")])
    last_used.write()
    assert names(LastUsed(path).read()) == "edc"


GOOD = {"tenant_id": "t", "collection_id": "c", "collection_uid": "u", "time": 60}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{",
        b"null",
        b"7",
        b'{"a": 1}',
        b'["a"]',
        b"[null]",
        json.dumps([{**GOOD, "time": "soon"}]).encode(),
        json.dumps([GOOD, {**GOOD, "time": None}]).encode(),
        json.dumps([{"tenant_id": "t"}]).encode(),
    ],
    ids=str,
)
def test_last_used_that_is_damaged_is_empty_with_a_warning(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    last_used = LastUsed(path)
    with capture_logs() as logs:
        assert last_used.read() == []
    assert [entry["log_level"] for entry in logs] == ["warning"]
    last_used.remember([(named("a"), HOUR)])
    last_used.write()
    assert names(LastUsed(path).read()) == "a"


def test_last_used_that_cannot_be_written_is_tried_again(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    last_used = LastUsed(path)
    last_used.remember([(named("a"), HOUR)])
    with capture_logs() as logs:
        last_used.write()
    assert [entry["event"] for entry in logs] == ["uses cannot be remembered"]
    path.parent.unlink()
    last_used.write()
    assert names(LastUsed(path).read()) == "a"
