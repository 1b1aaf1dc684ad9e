from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ingest_worker.webhook_sender import WebhookSender, signature
from rag_server.domain.webhook import Attempt, Webhook

SECRET = "0123456789abcdef"
BODY = b'{"job": 1}'


@dataclass
class Receiver:
    """A server on loopback that answers as it is told, and keeps what it got."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    endless: bool = False
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            time.sleep(told.pause_s)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                while told.endless:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def sender(**options: Any) -> WebhookSender:
    options = {"timeout_s": 5.0, "allow_private_addresses": True, "clock": lambda: 1_700_000_000.9, **options}
    return WebhookSender({"billing": SECRET}, user_agent="rag-server", **options)


async def test_body_is_posted_with_its_id_and_a_signature_that_holds(receiver: Receiver) -> None:
    attempt = await sender().send(Webhook(receiver.url, "billing"), "d1", BODY)
    assert attempt == Attempt(http_status=200)
    ((path, headers, body),) = receiver.got
    assert (path, body) == ("/hook?x=1", BODY)
    assert headers["x-rag-delivery"] == "d1"
    assert headers["content-type"] == "application/json"
    expected = hmac.new(SECRET.encode(), b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert headers["x-rag-signature"] == f"t=1700000000,v1={expected}"
    assert not any(SECRET in value for value in headers.values())


def test_signature_is_that_of_the_documented_example() -> None:
    assert signature("a-secret-of-the-docs", 1700000000, b'{"deliveryId":"d1"}') == (
        "t=1700000000,v1=" + "e3595e08845e5880de0c0b87148dfdeefb82b90c113acea3caaf5419ef2422bd"
    )


@pytest.mark.parametrize(
    ("status", "is_final"), [(500, False), (429, False), (404, False), (410, True), (301, False)]
)
async def test_other_status_fails_the_attempt(receiver: Receiver, status: int, is_final: bool) -> None:
    receiver.status = status
    attempt = await sender().send(Webhook(receiver.url, "billing"), "d1", BODY)
    assert attempt == Attempt(status, "WEBHOOK_REFUSED", is_final)


async def test_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"location": receiver.url.replace("hook", "other")}
    attempt = await sender().send(Webhook(receiver.url, "billing"), "d1", BODY)
    assert attempt.http_status == 307
    assert [path for path, _, _ in receiver.got] == ["/hook?x=1"]


async def test_private_address_is_refused_for_good(receiver: Receiver) -> None:
    attempt = await sender(allow_private_addresses=False).send(Webhook(receiver.url, "billing"), "d1", BODY)
    assert attempt == Attempt(None, "URI_FORBIDDEN_ADDRESS", is_final=True)
    assert receiver.got == []


async def test_name_that_leads_to_a_private_address_is_refused(receiver: Receiver) -> None:
    async def rebound(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    url = receiver.url.replace("127.0.0.1", "hooks.example")
    private = sender(allow_private_addresses=False, resolver=rebound)
    assert (await private.send(Webhook(url, "billing"), "d1", BODY)).reason == "URI_FORBIDDEN_ADDRESS"
    assert receiver.got == []


async def test_secret_that_is_gone_fails_for_good(receiver: Receiver) -> None:
    attempt = await sender().send(Webhook(receiver.url, "other"), "d1", BODY)
    assert attempt == Attempt(None, "WEBHOOK_SECRET_UNKNOWN", is_final=True)
    assert receiver.got == []


async def test_silent_server_ends_the_attempt_in_time(receiver: Receiver) -> None:
    receiver.pause_s = 1.0
    attempt = await sender(timeout_s=0.2).send(Webhook(receiver.url, "billing"), "d1", BODY)
    assert attempt == Attempt(None, "URI_FETCH_FAILED", is_final=False)


async def test_nobody_who_listens_may_be_there_later() -> None:
    attempt = await sender().send(Webhook("http://127.0.0.1:9/hook", "billing"), "d1", BODY)
    assert attempt == Attempt(None, "URI_FETCH_FAILED", is_final=False)


async def test_body_of_an_answer_is_not_read(receiver: Receiver) -> None:
    receiver.endless = True
    assert (await sender().send(Webhook(receiver.url, "billing"), "d1", BODY)).http_status == 200
