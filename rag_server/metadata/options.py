"""How the connections to the metadata store are kept; what of it applies to which database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Sizes and deadlines. SQLite, which takes one writer at a time, goes by `pool_timeout_s` alone."""

    pool_size: int = 8
    """Connections per engine; there is one engine of writers and one of readers."""
    pool_timeout_s: float = 10.0
    """How long a caller waits for a connection of ours before it is told to come back."""
    connect_timeout_s: float = 5.0
    """How long a new connection may take, TLS and authentication included."""
    statement_timeout_s: float = 30.0
    """After which the server gives up a statement."""
    lock_timeout_s: float = 10.0
    """How long a statement waits for a lock that another transaction holds."""


DEFAULT = ConnectionOptions()
