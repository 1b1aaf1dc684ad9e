from __future__ import annotations

import time

from rag_server.domain.time_limit import TimeLimit


def test_left_is_what_the_clock_says() -> None:
    assert 500 < TimeLimit(time.monotonic() + 600, is_callers=True).left_s() <= 600
    assert TimeLimit(time.monotonic(), is_callers=False).left_s() <= 0
