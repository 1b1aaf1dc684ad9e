"""Where the server is, and the channel to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import grpc

MEBIBYTE = 1024 * 1024
MAX_MESSAGE_BYTES = 64 * MEBIBYTE
KEEPALIVE_TIME_MS = 60_000
"""Idle time before a ping while a call runs; servers tell clients that ping much more often to calm down."""
KEEPALIVE_TIMEOUT_MS = 20_000
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Host and TCP port of a server."""

    host: str
    """Name or address; an IPv6 address without its brackets."""
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address in `HOST:PORT` or `[IPV6]:PORT`.

        Raises:
            ValueError: It is not one.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) <= MAX_PORT:
            raise ValueError(f"{text!r} is not HOST:PORT with a port from 1 to {MAX_PORT}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address goes in brackets, as in [::1]:50051")
        if not host or any(character.isspace() or character == "/" for character in host):
            raise ValueError(f"{text!r} has no valid host")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine, as far as the address says."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def open_channel(address: Address) -> grpc.Channel:
    """Return a channel; it connects with the first call, and closing it cancels the calls under way."""
    options: list[tuple[str, int]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 0),
        # gRPC's own bound of 120 s would outlast our retries: a server that came back would stay unseen.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if address.is_loopback:
        # A proxy of the environment cannot reach this machine's loopback on our behalf.
        options.append(("grpc.enable_http_proxy", 0))
    return grpc.insecure_channel(str(address), options=options)
