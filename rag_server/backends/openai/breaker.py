"""Stops asking a provider that keeps failing, and finds out when it works again.

The states are those of purgatory: closed, opened after failures in a row, half-opened after a while. Two
things are added. Half-open, one request at a time probes the provider, while the others are refused; and a
caller who leaves counts neither for nor against it.
"""

from __future__ import annotations

import time

from purgatory.domain.model import HALF_OPENED, OPENED, Context, OpenedState


class Suspended(Exception):
    """The provider is not to be asked now."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = wait_s


class Breaker:
    """The state of one provider."""

    def __init__(self, name: str, *, failures: int, open_s: float) -> None:
        """Open after `failures` in a row, for `open_s` seconds."""
        self._context = Context(name, failures, open_s)
        self._is_probed = False

    @property
    def is_closed(self) -> bool:
        """Whether requests go through."""
        return self._context.state not in {OPENED, HALF_OPENED}

    def enter(self) -> Passage:
        """Let one request through.

        Raises:
            Suspended: It must not be sent.
        """
        try:
            self._context.handle_new_request()
        except OpenedState as opened:
            raise Suspended(max(0.1, opened.opened_at + self._context.ttl - time.time())) from None
        is_probe = self._context.state == HALF_OPENED
        if is_probe:
            if self._is_probed:
                raise Suspended(1.0)
            self._is_probed = True
        return Passage(self, is_probe=is_probe)

    def leave(self, failure: Exception | None, *, is_known: bool, is_probe: bool) -> None:
        """Take note of how a request has ended; `is_known`: whether that says anything."""
        if is_probe:
            self._is_probed = False
        if is_known and (is_probe or self._context.state != HALF_OPENED):
            if failure is None:
                self._context.handle_end_request()
            elif self._context.state != OPENED:
                self._context.handle_exception(failure)
        self._context.messages.clear()  # nobody listens


class Passage:
    """One request that was let through. Exactly one of its endings counts, the first."""

    def __init__(self, breaker: Breaker, *, is_probe: bool) -> None:
        self._breaker = breaker
        self._is_probe = is_probe
        self._has_ended = False

    def answered(self) -> None:
        """The provider has begun to answer: others need not wait for the end of a probe.

        The request goes on as one of the others, which may yet fail.
        """
        if self._is_probe and not self._has_ended:
            self._is_probe = False
            self._breaker.leave(None, is_known=True, is_probe=True)

    def succeeded(self) -> None:
        """The provider works."""
        self._end(None, is_known=True)

    def failed(self, failure: Exception) -> None:
        """The provider does not work."""
        self._end(failure, is_known=True)

    def left(self) -> None:
        """It is not known: the caller left first, or the request itself was wrong."""
        self._end(None, is_known=False)

    def _end(self, failure: Exception | None, *, is_known: bool) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._breaker.leave(failure, is_known=is_known, is_probe=self._is_probe)
