"""Sending webhooks: one signed POST to an address that a caller chose, bounded in time and reach.

The signature covers the time of sending and the body, as that of Stripe does: whoever knows the secret can
tell that the body is ours, and that it is not an old one that somebody sends again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import httpx

from ingest_worker.fetch import CONNECT_TIMEOUT_S, checked_url, connection_errors
from ingest_worker.network import CheckedBackend, CheckedTransport, Resolver, resolve
from rag_server.domain.webhook import Attempt, Webhook
from rag_server.errors import RagError, Unavailable

SIGNATURE_HEADER = "x-rag-signature"
DELIVERY_HEADER = "x-rag-delivery"
_OK = range(200, 300)
_GONE = 410
_REFUSED = "WEBHOOK_REFUSED"
_SECRET_UNKNOWN = "WEBHOOK_SECRET_UNKNOWN"  # noqa: S105 - a reason


class WebhookSender:
    """Posts to public addresses unless told otherwise.

    Knows no cookies, credentials or proxies, follows no redirect, and reads no body of an answer. Every host
    is resolved here, checked, and connected to at the checked address (see `ingest_worker.network`).
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        *,
        timeout_s: float,
        user_agent: str,
        allow_private_addresses: bool = False,
        resolver: Resolver = resolve,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sign with `secrets`, by name; give up an attempt after `timeout_s` seconds."""
        self._secrets = dict(secrets)
        self._timeout_s = timeout_s
        self._backend = CheckedBackend(resolver, allow_private_addresses=allow_private_addresses)
        self._ssl_context = httpx.create_ssl_context(trust_env=False)
        self._timeouts = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        self._headers = {"user-agent": user_agent, "content-type": "application/json"}
        self._clock = clock

    async def send(self, webhook: Webhook, delivery_id: str, body: bytes) -> Attempt:
        """Return how the attempt went; nothing that goes wrong on the way is raised."""
        secret = self._secrets.get(webhook.secret_name)
        if secret is None:
            return Attempt(reason=_SECRET_UNKNOWN)
        headers = {
            **self._headers,
            DELIVERY_HEADER: delivery_id,
            SIGNATURE_HEADER: signature(secret, int(self._clock()), body),
        }
        try:
            status = await self._post(webhook.url, headers, body)
        except RagError as error:
            return Attempt(reason=error.reason, is_final=not isinstance(error, Unavailable))
        if status in _OK:
            return Attempt(http_status=status)
        return Attempt(http_status=status, reason=_REFUSED, is_final=status == _GONE)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        checked = checked_url(url)
        transport = CheckedTransport(self._backend, self._ssl_context)
        with connection_errors(self._timeout_s):
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(transport=transport, trust_env=False, timeout=self._timeouts) as client,
                client.stream(
                    "POST", checked, headers=headers, content=body, follow_redirects=False
                ) as response,
            ):
                return response.status_code


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the value of `x-rag-signature` for a body sent at `timestamp`, in seconds since 1970."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"
