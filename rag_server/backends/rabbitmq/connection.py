"""A connection to RabbitMQ that is made again whenever it is lost.

aio-pika's own robust connection restores channels and consumers one by one behind our back. Here a lost
connection takes everything with it, and each user sets itself up anew: what it holds of the old one is
void, and it knows when that happened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from rag_server.errors import Unavailable

log = structlog.get_logger()

BROKER_ERRORS = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
"""What aio-pika raises when the broker, or the way to it, is gone; a closed transport is a RuntimeError."""

CONNECT_TIMEOUT_S = 5.0
_SETUP_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

Setup = Callable[[AbstractConnection], Awaitable[None]]


@contextmanager
def broker_call() -> Iterator[None]:
    """Raise `ConnectionError`, one of `BROKER_ERRORS`, where the client library answers with a cancellation.

    To what waits for a channel that goes, aiormq gives the `CancelledError` of its own reader. Let through,
    that would end a task of ours that nobody has cancelled, without a word.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionError("the connection to the broker was closed") from error


def unavailable() -> Unavailable:
    """Return the error for a broker that does not answer."""
    return Unavailable("JOB_QUEUE_UNAVAILABLE", "the job queue does not answer; try again")


class BrokerConnection:
    """Owner of one connection; users register what has to be set up on each new one."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._setups: list[Setup] = []
        self._connection: AbstractConnection | None = None
        self._latest: AbstractConnection | None = None
        self._lost = asyncio.Event()
        self._first_attempt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected, and everything is set up."""
        return self._connection is not None and not self._connection.is_closed

    async def use(self, setup: Setup) -> None:
        """Have `setup` called with each connection from now on, the present one included.

        What it raises of `BROKER_ERRORS` ends the connection, and another is made.
        """
        self._setups.append(setup)
        if self._connection is not None:
            try:
                with broker_call():
                    await setup(self._connection)
            except BROKER_ERRORS:
                self.renew(self._connection)

    async def open(self) -> None:
        """Begin to connect; returns after the first attempt, whether it succeeded or not."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="broker-connection")
        await self._first_attempt.wait()

    def check(self) -> None:
        """Raise `Unavailable` (`JOB_QUEUE_UNAVAILABLE`) while there is no connection."""
        if not self.is_open:
            raise unavailable()

    def renew(self, broken: AbstractConnection | None) -> None:
        """Give a connection up and make another, unless that has happened already."""
        if broken is not None and broken is self._latest:
            self._lost.set()

    async def close(self) -> None:
        """Disconnect for good. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._lost.clear()
            connection = None
            try:
                with broker_call():
                    connection = await aio_pika.connect(
                        self._url,
                        timeout=CONNECT_TIMEOUT_S,
                        client_properties={"connection_name": self._name},
                    )
                    self._latest = connection
                    connection.close_callbacks.add(partial(self._on_close, connection))
                    async with asyncio.timeout(_SETUP_TIMEOUT_S):
                        for setup in list(self._setups):
                            await setup(connection)
                self._connection = connection
                self._first_attempt.set()
                log.info("connected to the broker")
                pause_s = _FIRST_PAUSE_S
                await self._lost.wait()
                log.warning("connection to the broker lost")
            except BROKER_ERRORS as error:
                log.warning("no connection to the broker", error=type(error).__qualname__)
            finally:
                self._connection = self._latest = None
                self._first_attempt.set()
                if connection is not None:
                    with suppress(*BROKER_ERRORS), broker_call():
                        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                            await connection.close()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _on_close(self, connection: AbstractConnection, *_: object) -> None:
        self.renew(connection)
