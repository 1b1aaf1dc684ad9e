"""What can go wrong at a provider, each with its reason; nothing of the provider's own words gets out.

A `ProviderFailure` wraps the error that the caller will see and adds what only this package needs to know:
whether trying again is safe, and whether the failure says that the provider is down.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from rag_server.errors import FailedPrecondition, RagError, ResourceExhausted, Unavailable

_OVERLOADED = 529
"""What some providers answer instead of 503."""
_TRANSIENT = frozenset({500, 502, 503, 504, _OVERLOADED})
_RETRY_AFTER_S = 5.0
"""When to come back where the provider does not say."""
_MAX_RETRY_AFTER_S = 3600.0


class ProviderFailure(Exception):
    """One failed request to a provider."""

    def __init__(
        self,
        error: RagError,
        *,
        is_transient: bool = False,
        is_outage: bool = True,
        wait_s: float | None = None,
    ) -> None:
        """Wrap `error`.

        Args:
            error: What the caller is told.
            is_transient: Whether the same request may be sent again, nothing having been generated.
            is_outage: Whether it counts towards suspending the provider.
            wait_s: How long the provider asks to wait.
        """
        super().__init__(error.reason)
        self.error = error
        self.is_transient = is_transient
        self.is_outage = is_outage
        self.wait_s = wait_s


class Failures:
    """Makes the failures of one model at one provider."""

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._metadata = {"provider": provider, "model": model}

    def of_status(self, status: int, headers: httpx.Headers) -> ProviderFailure:
        """Return the failure that an HTTP status other than 200 stands for."""
        who = f"the provider {self._provider!r}"
        metadata = {**self._metadata, "http_status": str(status)}
        wait_s = retry_after_s(headers)
        match status:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                refused = FailedPrecondition(
                    "PROVIDER_REFUSED_KEY",
                    f"{who} refuses the server's key: whoever runs the server has to set `models.providers`",
                    metadata=self._metadata,
                )
                return ProviderFailure(refused, is_outage=False)
            case HTTPStatus.NOT_FOUND:
                missing = FailedPrecondition(
                    "PROVIDER_MODEL_NOT_FOUND",
                    f"{who} does not have the model: whoever runs the server has to set `models.models`; "
                    "choose another model meanwhile",
                    metadata=self._metadata,
                )
                return ProviderFailure(missing, is_outage=False)
            case HTTPStatus.REQUEST_TIMEOUT:
                return ProviderFailure(self.silent().error, is_transient=True, wait_s=wait_s)
            case HTTPStatus.TOO_MANY_REQUESTS:
                limited = ResourceExhausted(
                    "PROVIDER_RATE_LIMITED",
                    f"{who} takes no more requests for now",
                    metadata=self._metadata,
                    retry_after_s=wait_s or _RETRY_AFTER_S,
                )
                return ProviderFailure(limited, is_transient=True, is_outage=False, wait_s=wait_s)
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                failed = Unavailable(
                    "PROVIDER_FAILED",
                    f"{who} answers with HTTP status {status}",
                    metadata=metadata,
                    retry_after_s=wait_s or _RETRY_AFTER_S,
                )
                return ProviderFailure(failed, is_transient=status in _TRANSIENT, wait_s=wait_s)
            case _:
                return self._refused(status, metadata)

    def _refused(self, status: int, metadata: Mapping[str, str]) -> ProviderFailure:
        error = FailedPrecondition(
            "PROVIDER_REFUSED_REQUEST",
            f"the provider {self._provider!r} refuses the request with HTTP status {status}: the model may "
            "lack one of the options in `generation`; leave them out, or choose another model",
            metadata=metadata,
        )
        return ProviderFailure(error, is_outage=False)

    def of_transport(self, error: httpx.HTTPError, *, has_begun: bool) -> ProviderFailure:
        """Return the failure behind an exception of httpx; `has_begun`: the response has."""
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout():
                unreachable = Unavailable(
                    "PROVIDER_UNREACHABLE",
                    f"there is no connection to the provider {self._provider!r}",
                    metadata=self._metadata,
                    retry_after_s=_RETRY_AFTER_S,
                )
                return ProviderFailure(unreachable, is_transient=True)
            case httpx.PoolTimeout():  # our own limit: it says nothing about the provider
                return ProviderFailure(self.silent().error, is_outage=False)
            case httpx.TimeoutException():
                return self.silent()
            case httpx.DecodingError():
                return self.invalid()
            case _:
                broken = self.broken()
                # A connection that was kept open and has died: the provider never saw the request.
                return ProviderFailure(broken.error, is_transient=not has_begun)

    def broken(self) -> ProviderFailure:
        """Return the failure of an answer that broke off."""
        error = Unavailable(
            "PROVIDER_STREAM_BROKEN",
            f"the answer of the provider {self._provider!r} broke off before its end",
            metadata=self._metadata,
            retry_after_s=_RETRY_AFTER_S,
        )
        return ProviderFailure(error)

    def invalid(self) -> ProviderFailure:
        """Return the failure of an answer that is not in the interface's form."""
        error = Unavailable(
            "PROVIDER_RESPONSE_INVALID",
            f"the provider {self._provider!r} sends what is not a stream of chat completions: whoever runs "
            "the server has to check its `base_url`",
            metadata=self._metadata,
            retry_after_s=_RETRY_AFTER_S,
        )
        return ProviderFailure(error)

    def too_long(self) -> ProviderFailure:
        """Return the failure of an answer that does not end where it was told to."""
        error = Unavailable(
            "PROVIDER_ANSWER_TOO_LONG",
            f"the provider {self._provider!r} sends far more than it was asked for",
            metadata=self._metadata,
            retry_after_s=_RETRY_AFTER_S,
        )
        return ProviderFailure(error)

    def suspended(self, wait_s: float) -> ProviderFailure:
        """Return the failure of a request that was not sent, since the ones before it failed."""
        error = Unavailable(
            "PROVIDER_SUSPENDED",
            f"the provider {self._provider!r} has failed several times in a row and is not asked for a while",
            metadata=self._metadata,
            retry_after_s=wait_s,
        )
        return ProviderFailure(error, is_outage=False)

    def silent(self) -> ProviderFailure:
        """Return the failure of a request that was waited for long enough."""
        error = Unavailable(
            "PROVIDER_TIMEOUT",
            f"the provider {self._provider!r} sent nothing for too long",
            metadata=self._metadata,
            retry_after_s=_RETRY_AFTER_S,
        )
        return ProviderFailure(error)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the seconds that `Retry-After` asks for (RFC 9110, 10.2.3), at most an hour; None: none."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:  # noqa: PLR0124 - not a number
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)
