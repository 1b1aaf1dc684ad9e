from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ingest_worker.fetch import Fetcher
from rag_server.errors import InvalidArgument, RagError, ResourceExhausted, Unavailable

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
LIMIT = 100_000


def response(body: bytes = b"", status: str = "200 OK", *, length: bool = True, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}"] if length else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def serving(answers: dict[str, Answer], requests: list[str] | None = None) -> AsyncIterator[str]:
    """Serve each path its answer on a free loopback port; yields the base URI."""
    seen = requests if requests is not None else []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            seen.append(head)
            answer = answers.get(head.split()[1], response(status="404 Not Found"))
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, which some tests want
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def fetcher(
    *,
    limit_bytes: int = LIMIT,
    timeout_s: float = 20,
    max_redirects: int = 5,
    allow: bool = True,
    **more: object,
) -> Fetcher:
    return Fetcher(
        limit_bytes=limit_bytes,
        timeout_s=timeout_s,
        user_agent="rag-server-test/1",
        max_redirects=max_redirects,
        allow_private_addresses=allow,
        **more,  # type: ignore[arg-type] # only `resolver`, passed by a few tests
    )


async def failure(uri: str, **options: object) -> RagError:
    with pytest.raises(RagError) as caught:
        await fetcher(**options).fetch(uri)  # type: ignore[arg-type] # forwarded as they are
    return caught.value


async def test_fetch_document_returns_body_type_and_name() -> None:
    requests: list[str] = []
    answers: dict[str, Answer] = {
        "/docs/a%20b.html?x=1": response(b"<p>hi", content_type="Text/HTML; charset=utf-8")
    }
    async with serving(answers, requests) as base:
        found = await fetcher().fetch(f"{base}/docs/a%20b.html?x=1#part")
    assert (found.data, found.media_type, found.file_name) == (b"<p>hi", "text/html", "a b.html")
    assert "user-agent: rag-server-test/1" in requests[0].lower()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="report.pdf"', "report.pdf"),
        ("attachment; filename*=UTF-8''a%C3%B1o.txt", "año.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\dir\\\\x.md"', "x.md"),
        ("inline", "path.txt"),
    ],
)
async def test_fetch_file_name_comes_from_the_header_without_directories(header: str, name: str) -> None:
    async with serving({"/path.txt": response(b"x", content_disposition=header)}) as base:
        assert (await fetcher().fetch(f"{base}/path.txt")).file_name == name


async def test_fetch_without_type_and_name_returns_them_empty() -> None:
    async with serving({"/": response(b"x")}) as base:
        found = await fetcher().fetch(base)
    assert (found.media_type, found.file_name) == ("", "")


async def test_fetch_gzip_is_expanded() -> None:
    text = b"many words " * 9000
    async with serving({"/": response(gzip.compress(text), content_encoding="gzip")}) as base:
        assert (await fetcher().fetch(base)).data == text


async def test_fetch_relative_redirects_are_followed() -> None:
    answers: dict[str, Answer] = {
        "/a/one": response(status="302 Found", location="../b/two"),
        "/b/two": response(status="308 Permanent Redirect", location="/three.txt"),
        "/three.txt": response(b"end"),
    }
    async with serving(answers) as base:
        found = await fetcher().fetch(f"{base}/a/one")
    assert (found.data, found.file_name) == (b"end", "three.txt")


async def test_fetch_endless_redirects_raise_too_many_redirects() -> None:
    requests: list[str] = []
    async with serving({"/": response(status="301 Moved", location="/")}, requests) as base:
        error = await failure(base, max_redirects=3)
    assert isinstance(error, InvalidArgument)
    assert error.reason == "URI_TOO_MANY_REDIRECTS"
    assert len(requests) == 4


async def test_fetch_redirect_to_nowhere_raises_fetch_failed() -> None:
    async with serving({"/": response(status="302 Found")}) as base:
        error = await failure(base)
    assert (error.reason, error.metadata["http_status"]) == ("URI_FETCH_FAILED", "302")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "UNSUPPORTED_URI_SCHEME"),
        ("gopher://127.0.0.1/", "UNSUPPORTED_URI_SCHEME"),
        ("http://user:secret@127.0.0.1/", "URI_INVALID"),
        ("http://[::1/", "URI_INVALID"),
    ],
)
async def test_fetch_redirect_target_is_checked_like_the_uri(location: str, reason: str) -> None:
    async with serving({"/": response(status="302 Found", location=location)}) as base:
        assert (await failure(base)).reason == reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("404 Not Found", InvalidArgument),
        ("403 Forbidden", InvalidArgument),
        ("304 Not Modified", InvalidArgument),
        ("408 Request Timeout", Unavailable),
        ("429 Too Many Requests", Unavailable),
        ("500 Oops", Unavailable),
        ("503 Busy", Unavailable),
    ],
)
async def test_fetch_error_status_is_retryable_only_where_waiting_helps(
    status: str, expected: type[RagError]
) -> None:
    async with serving({"/": response(b"internal detail", status=status)}) as base:
        error = await failure(base)
    assert type(error) is expected
    assert (error.reason, error.metadata["http_status"]) == ("URI_FETCH_FAILED", status[:3])
    assert "internal detail" not in error.message


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 10_000)
        await writer.drain()


@pytest.mark.parametrize(
    "answer",
    [
        response(b"x" * (LIMIT + 1)),
        response(b"x" * (LIMIT + 1), length=False),
        response(gzip.compress(bytes(50 * LIMIT)), content_encoding="gzip"),
        endless,
    ],
    ids=["declared", "undeclared", "gzip", "endless"],
)
async def test_fetch_body_over_the_limit_raises_document_too_large(answer: Answer) -> None:
    async with serving({"/": answer}) as base:
        error = await failure(base)
    assert isinstance(error, ResourceExhausted)
    assert error.reason == "DOCUMENT_TOO_LARGE"


async def test_fetch_body_at_the_limit_is_returned() -> None:
    async with serving({"/": response(b"x" * LIMIT)}) as base:
        assert len((await fetcher().fetch(base)).data) == LIMIT


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (response(b"no gzip", content_encoding="gzip"), InvalidArgument),
        (response(b"x", content_encoding="br"), InvalidArgument),
        (response(gzip.compress(b"x" * 999)[:-9], content_encoding="gzip"), Unavailable),
        (response(b"x" * 50).replace(b"content-length: 50", b"content-length: 99"), Unavailable),
        (b"this is not http\r\n\r\n", Unavailable),
        (b"", Unavailable),
    ],
    ids=["bad gzip", "brotli", "cut gzip", "cut body", "no http", "nothing"],
)
async def test_fetch_broken_answer_raises_fetch_failed(answer: Answer, expected: type[RagError]) -> None:
    async with serving({"/": answer}) as base:
        error = await failure(base)
    assert type(error) is expected
    assert error.reason == "URI_FETCH_FAILED"


async def test_fetch_silent_host_raises_unavailable_in_time() -> None:
    gone = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        await gone.wait()

    async with serving({"/": silent}) as base:
        error = await failure(base, timeout_s=0.05)
        gone.set()
    assert isinstance(error, Unavailable)
    assert error.reason == "URI_FETCH_FAILED"


async def test_fetch_closed_port_raises_unavailable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        error = await failure(f"http://127.0.0.1:{held.getsockname()[1]}/")
    assert isinstance(error, Unavailable)
    assert error.reason == "URI_FETCH_FAILED"


async def test_fetch_cancelled_by_the_caller_stops() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await gone.wait()

    async with serving({"/": silent}) as base:
        task = asyncio.create_task(fetcher().fetch(base))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gone.set()


@pytest.mark.parametrize(
    "uri", ["ftp://example.org/a", "file:///etc/passwd", "data:text/plain,x", "a/path", ""]
)
async def test_fetch_other_scheme_raises_unsupported_uri_scheme(uri: str) -> None:
    error = await failure(uri)
    assert isinstance(error, InvalidArgument)
    assert error.reason == "UNSUPPORTED_URI_SCHEME"


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:pw@example.org/",
        "http://user@example.org/",
        "http://",
        "http:///x",
        "http://a:99999/",
        "http://[::1/",
        "http://0177.0.0.1/",
    ],
)
async def test_fetch_malformed_uri_or_credentials_raise_uri_invalid(uri: str) -> None:
    error = await failure(uri)
    assert isinstance(error, InvalidArgument)
    assert error.reason == "URI_INVALID"
    assert "pw" not in error.message


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f000001",
            "127.1",
        ),
        *(
            "169.254.169.254",
            "100.64.0.1",
            "10.0.0.1",
            "192.168.0.1",
            "0.0.0.1",
            "[::]",
            "[fe80::1]",
            "[fd00::1]",
        ),
    ],
)
async def test_fetch_special_address_raises_forbidden_address(host: str) -> None:
    error = await failure(f"http://{host}:9/x", allow=False)
    assert isinstance(error, InvalidArgument)
    assert error.reason == "URI_FORBIDDEN_ADDRESS"


async def test_fetch_redirect_to_a_forbidden_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return {"good.test": ["127.0.0.1"], "evil.test": ["10.0.0.1"]}[host]

    monkeypatch.setattr("ingest_worker.network.is_public", lambda address: address == "127.0.0.1")
    async with serving({"/": response(status="302 Found", location="http://evil.test/meta")}) as base:
        port = base.rpartition(":")[2]
        error = await failure(f"http://good.test:{port}/", allow=False, resolver=resolver)
    assert error.reason == "URI_FORBIDDEN_ADDRESS"
    assert error.metadata == {"host": "evil.test"}
    assert looked_up == ["good.test", "evil.test"]


async def test_fetch_connects_to_the_address_that_was_checked() -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    async with serving({"/": response(b"x")}) as base:
        port = base.rpartition(":")[2]
        found = await fetcher(resolver=rebinding).fetch(f"http://rebind.test:{port}/")
    assert found.data == b"x"
    assert next(answers) == ["10.0.0.1"], "looked up once only"


async def test_fetch_tries_the_next_address_of_a_host() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with serving({"/": response(b"x")}) as base:
        port = base.rpartition(":")[2]
        assert (await fetcher(resolver=resolver).fetch(f"http://two.test:{port}/")).data == b"x"


async def test_fetch_ignores_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with serving({"/": response(b"direct")}) as base:
        assert (await fetcher().fetch(base)).data == b"direct"
