"""One run of a command: its options, its output and its channel."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from ragctl.connection import Address, open_channel
from ragctl.output import Output

DEFAULT_SERVER = "127.0.0.1:50051"
DEFAULT_UNARY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every command takes."""

    server: str = DEFAULT_SERVER
    """`HOST:PORT`."""
    timeout_s: float | None = None
    """Deadline of each call in seconds; None: 30 s for a plain call, none for a stream."""
    json: bool = False
    """Whether the output is for machines."""
    no_color: bool = False
    """Whether the output has no colours even on a terminal."""

    def overridden(
        self, *, server: str | None, timeout_s: float | None, json: bool, no_color: bool
    ) -> Options:
        """Return these options with those of the subcommand, where it has any, in their place."""
        return Options(
            server=server if server is not None else self.server,
            timeout_s=timeout_s if timeout_s is not None else self.timeout_s,
            json=self.json or json,
            no_color=self.no_color or no_color,
        )


class Session:
    """What a command works with. The channel opens when first used and closes with the session."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.output = Output(is_json=options.json, no_color=options.no_color)
        self._channel: grpc.Channel | None = None

    @property
    def address(self) -> Address:
        """The server's address.

        Raises:
            ValueError: `--server` is not one.
        """
        return Address.parse(self.options.server)

    @property
    def channel(self) -> grpc.Channel:
        """The channel to the server."""
        if self._channel is None:
            self._channel = open_channel(self.address)
        return self._channel

    @property
    def unary_timeout_s(self) -> float:
        """Deadline of a plain call in seconds."""
        return DEFAULT_UNARY_TIMEOUT_S if self.options.timeout_s is None else self.options.timeout_s

    @property
    def stream_timeout_s(self) -> float | None:
        """Deadline of a stream in seconds; None: it may last as long as it needs."""
        return self.options.timeout_s

    def close(self) -> None:
        """Cancel what is under way and close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
