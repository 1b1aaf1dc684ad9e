"""Fetching a document from a URI that a caller chose: bounded in bytes, time, redirects and reach."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote

import httpcore
import httpx

from ingest_worker.network import CheckedBackend, CheckedTransport, Resolver, resolve
from rag_server.errors import InvalidArgument, RagError, ResourceExhausted, Unavailable

REDIRECTS = {301, 302, 303, 307, 308}
_RETRYABLE = {408, 425, 429}
_SERVER_ERROR = 500
_OK = range(200, 300)
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_MAX_NAME_CHARACTERS = 255
_MAX_PORT = 65_535
_PART_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 10.0
"""For each address of a host, so that one that is silent leaves time for the next."""


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """What a URI answered."""

    data: bytes
    media_type: str
    """As the server declares it, lower case, without parameters; empty where it does not."""
    file_name: str
    """From the answer's headers or the URI's path; may be empty. No directories, no control characters."""


class Fetcher:
    """Fetches documents over HTTP and HTTPS, from public addresses unless told otherwise.

    Cookies, credentials and proxies are never used. Every host, that of each redirect too, is resolved
    here, checked, and connected to at the checked address (see `ingest_worker.network`).
    """

    def __init__(
        self,
        *,
        limit_bytes: int,
        timeout_s: float,
        user_agent: str,
        max_redirects: int = 5,
        allow_private_addresses: bool = False,
        resolver: Resolver = resolve,
    ) -> None:
        """Set the bounds.

        Args:
            limit_bytes: The largest document, decompressed.
            timeout_s: For the whole fetch, redirects included.
            user_agent: What to say who asks.
            max_redirects: How many to follow.
            allow_private_addresses: Whether loopback, private and other special addresses are reachable.
            resolver: Looks up host names.
        """
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._backend = CheckedBackend(resolver, allow_private_addresses=allow_private_addresses)
        self._ssl_context = httpx.create_ssl_context(trust_env=False)
        self._timeouts = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        self._headers = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "gzip"}

    async def fetch(self, uri: str) -> FetchedDocument:
        """Return the document at `uri`.

        Raises:
            InvalidArgument: `UNSUPPORTED_URI_SCHEME`, `URI_INVALID` (malformed, or with credentials),
                `URI_FORBIDDEN_ADDRESS`, `URI_TOO_MANY_REDIRECTS`, and `URI_FETCH_FAILED` for an answer
                that a second try would not change; metadata `http_status` where there is one.
            Unavailable: `URI_FETCH_FAILED` for a timeout, a broken connection, a 5xx, 408, 425 or 429.
            ResourceExhausted: `DOCUMENT_TOO_LARGE`.
        """
        url = checked_url(uri)
        transport = CheckedTransport(self._backend, self._ssl_context)
        with connection_errors(self._timeout_s):
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(
                    transport=transport, trust_env=False, headers=self._headers, timeout=self._timeouts
                ) as client,
            ):
                return await self._follow(client, url)

    async def _follow(self, client: httpx.AsyncClient, url: httpx.URL) -> FetchedDocument:
        for _ in range(self._max_redirects + 1):
            async with client.stream("GET", url, follow_redirects=False) as response:
                if response.status_code not in REDIRECTS:
                    return await self._read(response)
                location = response.headers.get("location", "")
            if not location:
                raise fetch_failed("the URI redirects to nowhere", response.status_code)
            url = checked_url(location, base=url)
        raise InvalidArgument(
            "URI_TOO_MANY_REDIRECTS", f"the URI redirects more than {self._max_redirects} times"
        )

    async def _read(self, response: httpx.Response) -> FetchedDocument:
        status = response.status_code
        if status not in _OK:
            raise fetch_failed(f"the URI answered with HTTP status {status}", status)
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._limit_bytes:
            raise self._too_large()
        data = bytearray()
        async for part in decompressed(response):
            data += part
            if len(data) > self._limit_bytes:
                raise self._too_large()
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return FetchedDocument(bytes(data), media_type, file_name_of(response))

    def _too_large(self) -> ResourceExhausted:
        return ResourceExhausted(
            "DOCUMENT_TOO_LARGE",
            f"the document at the URI is larger than {self._limit_bytes} bytes",
            metadata={"limit_bytes": str(self._limit_bytes)},
        )


@contextmanager
def connection_errors(timeout_s: float) -> Iterator[None]:
    """Turn what goes wrong on a connection into errors of ours; `timeout_s` is only named in them."""
    try:
        yield
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise Unavailable(
            "URI_FETCH_FAILED", f"the URI did not answer completely within {timeout_s:g} s"
        ) from error
    except httpx.RequestError as error:  # httpx itself only looks at where a redirect leads
        raise InvalidArgument("URI_INVALID", "the URI redirects to a malformed URI") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Unavailable("URI_FETCH_FAILED", "the connection to the URI's host broke") from error


def checked_url(uri: str, base: httpx.URL | None = None) -> httpx.URL:
    """Return the parsed URI, resolved against `base`, without its fragment."""
    try:
        url = httpx.URL(uri) if base is None else base.join(uri)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise InvalidArgument("URI_INVALID", "the URI is malformed") from error
    if url.scheme not in {"http", "https"}:
        scheme = url.scheme[:20] or "none"
        raise InvalidArgument(
            "UNSUPPORTED_URI_SCHEME",
            f"the URI's scheme is {scheme}; supported: http, https",
            metadata={"scheme": scheme},
        )
    if not url.host or (url.port or 0) > _MAX_PORT:
        raise InvalidArgument("URI_INVALID", "the URI names no host, or no valid port")
    if url.userinfo:
        raise InvalidArgument("URI_INVALID", "the URI holds a user name or password, which are not accepted")
    return url.copy_with(fragment=None)


def fetch_failed(message: str, status: int) -> RagError:
    """Return the error for an answer with `status`: retryable only where waiting may help."""
    metadata = {"http_status": str(status)}
    if status >= _SERVER_ERROR or status in _RETRYABLE:
        return Unavailable("URI_FETCH_FAILED", message, metadata=metadata)
    return InvalidArgument("URI_FETCH_FAILED", message, metadata=metadata)


async def decompressed(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body in parts of bounded size, however far it expands."""
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in {"", "identity"}:
        async for part in response.aiter_raw():
            yield part
        return
    if coding not in {"gzip", "x-gzip"}:
        raise InvalidArgument(
            "URI_FETCH_FAILED", "the URI's host used a compression that it was not offered; supported: gzip"
        )
    decoder = zlib.decompressobj(_GZIP_WINDOW)
    async for part in response.aiter_raw():
        pending, expanded = part, b""
        while not decoder.eof and (
            pending or len(expanded) == _PART_BYTES
        ):  # a full part: more may wait inside
            try:
                expanded = decoder.decompress(pending, _PART_BYTES)
            except zlib.error as error:
                raise InvalidArgument("URI_FETCH_FAILED", "the URI's answer is no valid gzip") from error
            pending = decoder.unconsumed_tail
            yield expanded
    if not decoder.eof:
        raise Unavailable("URI_FETCH_FAILED", "the URI's compressed answer ended too early")


def file_name_of(response: httpx.Response) -> str:
    """Return the name in Content-Disposition (RFC 6266), else the last segment of the path."""
    header = Message()
    header["content-disposition"] = response.headers.get("content-disposition", "").replace("\n", " ")
    named = header.get_filename() or unquote(response.url.path)
    name = PurePosixPath(named.replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_MAX_NAME_CHARACTERS]
