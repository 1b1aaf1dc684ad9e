"""Connections to public addresses only: each address of a name is checked, and that very one is used."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx

from rag_server.errors import InvalidArgument, Unavailable

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host name for a port. Raises `OSError` where there are none."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215: a network's own translator
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, 2.5.5.1: deprecated, never a real host


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses that the operating system's resolver knows for `host`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether `address` is a unicast address of the public internet, also where it wraps an IPv4 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return all(
        candidate.is_global
        and not candidate.is_multicast
        and not candidate.is_reserved
        and not candidate.is_unspecified
        and not (isinstance(candidate, ipaddress.IPv6Address) and _is_local(candidate))
        for candidate in _reached(parsed)
    )


def _is_local(address: ipaddress.IPv6Address) -> bool:
    return address.is_site_local or address in _NAT64_LOCAL


def _reached(address: _Address) -> Iterable[_Address]:
    """Return every address that a packet to `address` may end at: the IPv4 ones inside it, else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections; resolves names itself, so that no second look-up can answer differently."""

    def __init__(self, resolver: Resolver, *, allow_private_addresses: bool) -> None:
        self._resolver = resolver
        self._allow_private_addresses = allow_private_addresses
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises `InvalidArgument` (`URI_FORBIDDEN_ADDRESS`) if any of its addresses is not public, and
        `Unavailable` (`URI_FETCH_FAILED`) if it has none or none answers.
        """
        try:
            addresses = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise Unavailable("URI_FETCH_FAILED", f"the host {host!r} cannot be resolved") from error
        if not self._allow_private_addresses and not all(is_public(address) for address in addresses):
            raise InvalidArgument(
                "URI_FORBIDDEN_ADDRESS",
                f"the host {host!r} is not on the public internet; this server fetches from there only",
                metadata={"host": host},
            )
        for address in addresses:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        raise Unavailable("URI_FETCH_FAILED", f"the host {host!r} does not answer on port {port}")


class CheckedTransport(httpx.AsyncBaseTransport):
    """httpx over a connection pool of `CheckedBackend`; knows no proxies. Raises httpcore's exceptions."""

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend,
        ssl_context: ssl.SSLContext,
        *,
        max_connections: int = 10,
        keepalive_expiry_s: float | None = None,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            network_backend=backend,
            max_connections=max_connections,
            keepalive_expiry=keepalive_expiry_s,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response as httpx reads it."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> Any:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()
