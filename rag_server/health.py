"""Deep health: the parts are asked, and each service's status follows from the parts that it needs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from rag_server.errors import RagError
from rag_server.logs import where_raised

log = structlog.get_logger()

METADATA, CHUNKS, EMBEDDER, INGEST, QUEUE = "metadata", "chunks", "embedder", "ingest", "queue"

NEEDS: Mapping[str, Sequence[str]] = {
    "rag.v1.CollectionService": (METADATA,),
    "rag.v1.IngestService": (METADATA, INGEST),
    "rag.v1.DocumentService": (METADATA, CHUNKS),
    # Not the embedder: without it BM25 answers, and the response says so.
    "rag.v1.RetrieveService": (METADATA, CHUNKS),
    "rag.v1.GenerateService": (METADATA, CHUNKS, EMBEDDER),
    "rag.v1.ConversationService": (METADATA,),
    "rag.v1.AssistantService": (METADATA,),
    "rag.v1.AdminService": (METADATA,),
}
"""The parts without which a service cannot do its work."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_PATIENCE = 3
"""Checks in a row that have to time out before a part counts as down."""

OVERALL = ""
"""Name under which the health protocol asks for the server as a whole: SERVING while every service is."""


@dataclass(frozen=True, slots=True)
class Component:
    """What was last found out about one part."""

    name: str
    is_serving: bool
    check_time: datetime


class Health:
    """Checks the parts at an interval and keeps grpc.health.v1 up to date, Watch included."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], Awaitable[None]]],
        *,
        interval_s: float,
        timeout_s: float = 3.0,
        needs: Mapping[str, Sequence[str]] = NEEDS,
    ) -> None:
        """Check the parts by name; a check raises `RagError` when its part does not work.

        `needs`: the parts without which each service cannot do its work.
        """
        self.servicer = HealthServicer()
        self._checks = checks
        self._needs = needs
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._components: dict[str, Component] = {}
        self._timeouts: Counter[str] = Counter()

    def components(self) -> list[Component]:
        """Return what was last found out, by name."""
        return [self._components[name] for name in sorted(self._components)]

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self._interval_s)

    async def check(self) -> None:
        """Ask all parts at once, and set the services' statuses."""
        found = await asyncio.gather(*(self._ask(name) for name in self._checks))
        self._components = {component.name: component for component in found}
        serving = {name for name, component in self._components.items() if component.is_serving}
        statuses = {service: serving.issuperset(needs) for service, needs in self._needs.items()}
        statuses[OVERALL] = all(statuses.values())
        for service, is_serving in statuses.items():
            await self.servicer.set(service, _SERVING if is_serving else _NOT_SERVING)

    async def leave(self) -> None:
        """Say NOT_SERVING from now on, whatever the checks find: the server is about to stop."""
        await self.servicer.enter_graceful_shutdown()

    def _is_merely_slow(self, name: str, reason: str) -> bool:
        """Whether a part that worked before has not answered for once: busy is not down."""
        self._timeouts[name] = self._timeouts[name] + 1 if reason == "TIMEOUT" else 0
        before = self._components.get(name)
        return (
            reason == "TIMEOUT"
            and self._timeouts[name] < _PATIENCE
            and before is not None
            and before.is_serving
        )

    async def _ask(self, name: str) -> Component:
        before = self._components.get(name)
        reason = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._checks[name]()
        except TimeoutError:
            reason = "TIMEOUT"
        except RagError as error:
            reason = error.reason
        except Exception as error:  # noqa: BLE001 - the boundary: a broken check must not end the checking
            reason = "INTERNAL"
            log.error("health check broke", component=name, where=where_raised(error))
        is_serving = not reason or self._is_merely_slow(name, reason)
        if before is not None and before.is_serving != is_serving:
            log.warning("health changed", component=name, is_serving=is_serving, reason=reason)
        return Component(name, is_serving, datetime.now(UTC))
