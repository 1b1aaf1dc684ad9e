"""Dry runs of IngestDocument: what is checked at once, then the stages without effect, the report."""

from __future__ import annotations

import asyncio

from rag.v1 import dry_run_pb2
from rag.v1 import ingest_service_pb2 as pb
from rag_server.ingest.dry_run import DryRunner
from rag_server.ingest.submit import Submitter, derive_document_id
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database
from rag_server.services.cutting import cutting_of
from rag_server.services.wire.document import from_spec
from rag_server.services.wire.dry_run import to_report


class Rehearsal:
    """Says what would be made of a document."""

    def __init__(self, database: Database, submitter: Submitter, runner: DryRunner) -> None:
        self._database = database
        self._submitter = submitter
        self._runner = runner

    async def report(self, request: pb.IngestDocumentRequest) -> dry_run_pb2.DryRunReport:
        """Return what a job would make of the document.

        Raises what `Submitter.check` and `DryRunner.run` raise.
        """
        document = from_spec(request.collection_id, request.document)
        async with self._database.snapshot() as tx:
            collection = await self._submitter.check(
                tx, current_call.get().tenant_id, document, uri=request.uri
            )
        cutting = cutting_of(request) or collection.chunking
        data = request.data or request.text.encode()
        result = await self._runner.run(collection, document, cutting, data=data, uri=request.uri)
        # named as `Submitter.accept` does: by what the caller said, not by what the URI's server did
        name = document.document_id or derive_document_id(document, uri=request.uri, sha256=result.sha256)
        return await asyncio.to_thread(to_report, result, name, request.dry_run)
