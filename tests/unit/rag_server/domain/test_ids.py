from __future__ import annotations

import time
import uuid

import pytest

from rag_server.domain.ids import new_id


def test_new_id_is_a_version_7_uuid_of_now() -> None:
    before = time.time_ns() // 1_000_000
    value = new_id()
    after = time.time_ns() // 1_000_000
    parsed = uuid.UUID(hex=value)
    assert len(value) == 32
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert before <= parsed.int >> 80 <= after


def test_new_id_later_sorts_after_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_999_999, 2_000_000, 2_000_300, 2_999_999, 3_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    made = [new_id() for _ in range(5)]
    assert made == sorted(made)


def test_new_id_many_are_distinct() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
