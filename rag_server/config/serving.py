"""Settings of the process that answers calls: the server, its log, its figures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rag_server.config.group import MEBIBYTE, Group


class ServerSettings(Group):
    """The gRPC server and the limits of a call."""

    host: str = "127.0.0.1"
    """Address to listen on. There is no authentication yet: keep it on loopback or a trusted network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 50051
    """TCP port; 0 takes a free one and logs it."""
    max_message_bytes: Annotated[int, Field(ge=65536)] = 36 * MEBIBYTE
    """Largest message taken or sent, in bytes."""
    max_metadata_bytes: Annotated[int, Field(ge=1024)] = 16384
    """Largest request metadata (headers), in bytes."""
    max_concurrent_calls: Annotated[int, Field(ge=1)] = 256
    """Calls worked on at once; more are refused with RESOURCE_EXHAUSTED. Health and reflection are free."""
    max_watches: Annotated[int, Field(ge=1)] = 1024
    """WatchJob streams open at once, which mostly wait and do not count as calls; more are refused."""
    default_deadline_s: Annotated[float, Field(gt=0)] = 30.0
    """Deadline of a unary call whose client set none, in seconds."""
    default_stream_deadline_s: Annotated[float, Field(gt=0)] = 3600.0
    """Deadline of a streaming call whose client set none, in seconds."""
    stream_idle_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest wait for a client's next message in a stream, and for it to take a response, in seconds."""
    keepalive_time_s: Annotated[float, Field(gt=0)] = 60.0
    """Idle time after which the server pings a connection, in seconds."""
    keepalive_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """Time to answer a ping before the connection is closed, in seconds."""
    min_client_ping_interval_s: Annotated[float, Field(gt=0)] = 10.0
    """Clients that ping more often are told to calm down, in seconds."""
    shutdown_grace_s: Annotated[float, Field(ge=0)] = 20.0
    """Time that running calls get after SIGTERM, in seconds."""
    health_interval_s: Annotated[float, Field(gt=0)] = 5.0
    """Time between two looks at the parts (metadata, chunk store, embedder, ingest), in seconds."""


class LogSettings(Group):
    """Logs, on standard error."""

    format: Literal["console", "json"] = "console"
    """`console` for people, `json` for machines: one object per line."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is written."""


class MetricsSettings(Group):
    """Prometheus metrics."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """HTTP port of `/metrics`; 0: not served."""
    host: str = "127.0.0.1"
    """Address that `/metrics` listens on."""
