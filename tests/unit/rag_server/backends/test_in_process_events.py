from __future__ import annotations

import pytest

from rag_server.backends.in_process_events import EventHub, InProcessEventBus
from rag_server.testing.event_bus_suite import Buses, EventBusSuite


class TestInProcessEventBus(EventBusSuite):
    @pytest.fixture
    async def buses(self) -> Buses:
        hub = EventHub()
        return InProcessEventBus(hub), InProcessEventBus(hub)
