"""What the tests of several adapters share."""

from __future__ import annotations

import pytest

from tests.unit.rag_server.backends.breaker_clock import BreakerClock


@pytest.fixture
def breaker_clock(monkeypatch: pytest.MonkeyPatch) -> BreakerClock:
    clock = BreakerClock()
    monkeypatch.setattr("purgatory.domain.model.time", clock)
    monkeypatch.setattr("rag_server.backends.breaker.time", clock)
    return clock
