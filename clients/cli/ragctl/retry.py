"""When a failed call is made again, and how long to wait before."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

import grpc

from ragctl.errors import Problem


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter, bounded in attempts."""

    max_failures: int = 6
    """Failures in a row before the caller gives up."""
    first_wait_s: float = 0.5
    """Upper bound of the first wait, in seconds; it doubles each time."""
    longest_wait_s: float = 8.0
    """Upper bound of any wait, in seconds."""

    def wait_s(self, failure_count: int) -> float:
        """Return how long to wait after the given number of failures in a row (from 1), in seconds."""
        bound = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failure_count - 1))
        return random.uniform(bound / 2, bound)  # noqa: S311 - spreads callers, guards no secret

    def pause(self, failure_count: int, problem: Problem, stop: threading.Event) -> bool:
        """Wait before the next attempt; return whether there is to be one.

        There is none after `max_failures` failures, when the problem would not pass, or when `stop` is set.
        A server that says when to come back is given that time.
        """
        if failure_count >= self.max_failures or not is_transient(problem):
            return False
        wait_s = max(self.wait_s(failure_count), min(problem.retry_after_s or 0.0, self.longest_wait_s))
        return not stop.wait(wait_s)


def is_transient(problem: Problem) -> bool:
    """Return whether the same call may succeed later: the server is away, or says when to come back."""
    if problem.status == grpc.StatusCode.UNAVAILABLE.name:
        return True
    return problem.status == grpc.StatusCode.RESOURCE_EXHAUSTED.name and problem.retry_after_s is not None
