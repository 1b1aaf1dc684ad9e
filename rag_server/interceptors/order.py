"""The order of the interceptors, outermost first, with the reason for each place."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from rag_server.config import ServerSettings
from rag_server.interceptors.access_log import AccessLog
from rag_server.interceptors.admission import Admission
from rag_server.interceptors.chain import Chain
from rag_server.interceptors.deadline import Deadline
from rag_server.interceptors.errors import Errors
from rag_server.interceptors.metrics import Metrics
from rag_server.interceptors.request_id import RequestId
from rag_server.validation.validator import check


class StandardChain(Chain):
    """The chain that the server runs."""

    def __init__(self, settings: ServerSettings, registry: CollectorRegistry) -> None:
        self.admission = Admission(settings.max_concurrent_calls, settings.max_watches)
        self.access_log = AccessLog()
        super().__init__(
            [
                RequestId(),  # first: all that follows logs with it
                self.access_log,  # sees the status that the mapping below decides
                Metrics(registry),  # likewise
                Errors(),  # maps what is raised by everything inside it, the refusals below included
                self.admission,  # before any work is done
            ],
            Deadline(unary_s=settings.default_deadline_s, stream_s=settings.default_stream_deadline_s),
            check,  # validation, innermost: on every request message, but for `CHECKS_ITSELF`
            max_response_bytes=settings.max_message_bytes,
            stream_idle_s=settings.stream_idle_s,
        )
