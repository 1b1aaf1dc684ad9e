"""What the server asks of whatever can read documents without ingesting them."""

from __future__ import annotations

from typing import Protocol

from rag_server.domain.collection import Collection
from rag_server.domain.document import NewDocument
from rag_server.domain.dry_run import DryRun
from rag_server.domain.records import Cutting


class DryRunner(Protocol):
    """Takes a document through the stages of ingest that write nothing."""

    async def run(
        self, collection: Collection, document: NewDocument, cutting: Cutting, *, data: bytes, uri: str
    ) -> DryRun:
        """Return what a job would make of `data`, or of what is at `uri` where that is not empty.

        A caller that is cancelled leaves no parser at work. Raises what a job would fail of, and
        `ResourceExhausted` (`PARSERS_BUSY`) when as many are under way as may.
        """
        ...
