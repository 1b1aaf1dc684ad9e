"""What a whole crawl may use, over all its requests."""

from __future__ import annotations

from ingest_worker.crawl.results import StopReason


class BudgetSpent(Exception):
    """The crawl must end; `stop_reason` says why."""

    def __init__(self, stop_reason: StopReason) -> None:
        super().__init__(stop_reason.value)
        self.stop_reason = stop_reason


class Budget:
    """Counts requests and bytes; raises `BudgetSpent` before the bound is passed."""

    def __init__(self, *, max_requests: int, max_bytes: int, requests: int = 0, spent_bytes: int = 0) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.requests = requests
        self.spent_bytes = spent_bytes

    def spend_request(self) -> None:
        """Count a request that is about to be sent."""
        if self.requests >= self._max_requests:
            raise BudgetSpent(StopReason.MAX_REQUESTS)
        self.requests += 1

    def spend_bytes(self, count: int) -> None:
        """Count bytes that came in, decompressed."""
        self.spent_bytes += count
        if self.spent_bytes > self._max_bytes:
            raise BudgetSpent(StopReason.MAX_BYTES)
