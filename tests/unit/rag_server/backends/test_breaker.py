from __future__ import annotations

import pytest

from rag_server.backends.breaker import Breaker, Suspended
from tests.unit.rag_server.backends.breaker_clock import BreakerClock

FAILURE = RuntimeError()


def opened(breaker_clock: BreakerClock) -> Breaker:
    breaker = Breaker("local", failures=2, open_s=30)
    for _ in range(2):
        breaker.enter().failed(FAILURE)
    return breaker


def test_breaker_opens_after_failures_in_a_row_and_says_for_how_long(breaker_clock: BreakerClock) -> None:
    breaker = Breaker("local", failures=2, open_s=30)
    breaker.enter().failed(FAILURE)
    breaker.enter().succeeded()
    breaker.enter().failed(FAILURE)
    assert breaker.is_closed
    breaker.enter().failed(FAILURE)
    assert not breaker.is_closed
    breaker_clock.now += 10
    with pytest.raises(Suspended) as caught:
        breaker.enter()
    assert caught.value.wait_s == 20


def test_breaker_lets_one_probe_through_and_closes_when_it_succeeds(breaker_clock: BreakerClock) -> None:
    breaker = opened(breaker_clock)
    breaker_clock.now += 31
    probe = breaker.enter()
    with pytest.raises(Suspended):
        breaker.enter()
    probe.succeeded()
    assert breaker.is_closed
    breaker.enter().succeeded()
    breaker.enter().succeeded()


def test_breaker_opens_again_when_its_probe_fails(breaker_clock: BreakerClock) -> None:
    breaker = opened(breaker_clock)
    breaker_clock.now += 31
    breaker.enter().failed(FAILURE)
    with pytest.raises(Suspended) as caught:
        breaker.enter()
    assert caught.value.wait_s == 30


def test_probe_of_a_caller_who_leaves_says_nothing_and_the_next_one_probes(
    breaker_clock: BreakerClock,
) -> None:
    breaker = opened(breaker_clock)
    breaker_clock.now += 31
    breaker.enter().left()
    assert not breaker.is_closed
    breaker.enter().succeeded()
    assert breaker.is_closed


def test_probe_that_is_answered_lets_others_through_before_its_end(breaker_clock: BreakerClock) -> None:
    breaker = opened(breaker_clock)
    breaker_clock.now += 31
    probe = breaker.enter()
    probe.answered()
    assert breaker.is_closed
    breaker.enter().failed(FAILURE)
    probe.failed(FAILURE)
    assert not breaker.is_closed, "it counts like any other from then on"


def test_answer_that_has_begun_makes_no_failure_of_others_forgotten(breaker_clock: BreakerClock) -> None:
    breaker = Breaker("local", failures=2, open_s=30)
    passage = breaker.enter()
    breaker.enter().failed(FAILURE)
    passage.answered()
    breaker.enter().failed(FAILURE)
    assert not breaker.is_closed


def test_requests_from_before_decide_nothing_once_it_is_open(breaker_clock: BreakerClock) -> None:
    breaker = Breaker("local", failures=2, open_s=30)
    early = [breaker.enter() for _ in range(4)]
    early[0].failed(FAILURE)
    early[1].failed(FAILURE)
    early[2].failed(FAILURE)
    breaker_clock.now += 31
    probe = breaker.enter()
    early[3].succeeded()
    assert not breaker.is_closed
    probe.failed(FAILURE)
    assert not breaker.is_closed


def test_passage_ends_once(breaker_clock: BreakerClock) -> None:
    breaker = Breaker("local", failures=1, open_s=30)
    passage = breaker.enter()
    passage.succeeded()
    passage.failed(FAILURE)
    assert breaker.is_closed
