"""AdminService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rag.v1 import admin_service_pb2 as pb
from rag.v1 import admin_service_pb2_grpc as pb_grpc
from rag_server import __version__
from rag_server.backends.protocols import EmbeddingModel
from rag_server.config import Settings
from rag_server.domain.cache import CacheFigures
from rag_server.domain.engine import EngineFigures
from rag_server.domain.media_type_names import readable_media_types
from rag_server.domain.reconciliation import Finding, FindingKind, Inspected
from rag_server.generation.models import Models
from rag_server.health import Health
from rag_server.ingest.reconcile import Reconciler
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database
from rag_server.query.resident.pool import ResidentPool
from rag_server.services.wire.figures import to_cache_info, to_retriever_info
from rag_server.services.wire.limits import to_limits
from rag_server.services.wire.metadata import to_timestamp
from rag_server.services.wire.model import to_model_alias, to_model_info
from rag_server.text.analyzer import SUPPORTED_LANGUAGES


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """What the server keeps in memory to be quick."""

    pool: ResidentPool
    head_revision: Callable[[str], int | None]
    caches: Mapping[str, Callable[[], CacheFigures]]
    """By name."""
    rerankers: Sequence[str]


_KINDS = {
    FindingKind.ORPHAN_CHUNKS: pb.RECONCILE_KIND_ORPHAN_CHUNKS,
    FindingKind.MISSING_CHUNKS: pb.RECONCILE_KIND_MISSING_CHUNKS,
    FindingKind.SURPLUS_CHUNKS: pb.RECONCILE_KIND_SURPLUS_CHUNKS,
    FindingKind.UNREFERENCED_BYTES: pb.RECONCILE_KIND_UNREFERENCED_BYTES,
    FindingKind.MISSING_BYTES: pb.RECONCILE_KIND_MISSING_BYTES,
}


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Shows the server itself and keeps its stores in step."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        model: EmbeddingModel,
        models: Models,
        engines: Mapping[str, Callable[[], EngineFigures]],
        health: Health,
        memory: MemoryFigures,
        reconciler: Reconciler,
        start_time: datetime,
    ) -> None:
        self._settings = settings
        self._database = database
        self._model = model
        self._models = models
        self._engines = engines
        self._health = health
        self._memory = memory
        self._reconciler = reconciler
        self._start_time = start_time

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.GetServerInfoResponse:
        """Say which version runs, with which models and limits, and how its parts fare."""
        tenant_id = current_call.get().tenant_id
        async with self._database.snapshot() as tx:
            unfinished = await tx.jobs.count_unfinished(tenant_id)
        return pb.GetServerInfoResponse(
            version=__version__,
            start_time=to_timestamp(self._start_time),
            embedding_model=pb.EmbeddingModelInfo(
                id=self._model.id,
                dimension=self._model.dimension,
                window_tokens=self._model.window_tokens,
                languages=self._model.languages,
            ),
            generators=self._models.names,
            languages=SUPPORTED_LANGUAGES,
            media_types=readable_media_types(),
            limits=to_limits(self._settings),
            components=[
                pb.ComponentHealth(
                    name=component.name,
                    is_serving=component.is_serving,
                    check_time=to_timestamp(component.check_time),
                )
                for component in self._health.components()
            ],
            unfinished_job_count=unfinished,
            retrievers=[
                to_retriever_info(
                    entry,
                    store_query_count=self._memory.pool.store_query_count(entry.resident.collection.uid),
                    head_revision=self._memory.head_revision(entry.resident.collection.uid),
                )
                for entry in self._memory.pool.entries(tenant_id)
            ],
            caches=[to_cache_info(name, figures()) for name, figures in self._memory.caches.items()],
            rerankers=self._memory.rerankers,
            models=[
                to_model_info(each.generator.model, self._engines.get(each.name))
                for each in self._models.served
            ],
            model_aliases=[to_model_alias(name, shares) for name, shares in self._models.aliases.items()],
            fallback_models=self._models.fallbacks,
        )

    async def Reconcile(
        self, request: pb.ReconcileRequest, context: Any
    ) -> AsyncGenerator[pb.ReconcileResponse, None]:
        """Compare the stores, say what does not agree, and repair it."""
        call = current_call.get()
        inspected = Inspected()
        found = repaired = 0
        findings = self._reconciler.run(
            call.tenant_id,
            inspected,
            collection_id=request.collection_id,
            is_dry_run=request.dry_run,
            request_id=call.request_id,
        )
        async with aclosing(findings):
            async for finding in findings:
                found += 1
                repaired += finding.is_repaired
                yield pb.ReconcileResponse(finding=_to_finding(finding))
        summary = pb.ReconcileSummary(
            collection_count=inspected.collection_count,
            document_count=inspected.document_count,
            chunk_count=inspected.chunk_count,
            finding_count=found,
            repaired_count=repaired,
        )
        yield pb.ReconcileResponse(summary=summary)


def _to_finding(finding: Finding) -> pb.ReconcileFinding:
    return pb.ReconcileFinding(
        kind=_KINDS[finding.kind],
        collection_id=finding.collection_id,
        document_id=finding.document_id,
        document_revision=finding.revision,
        chunk_count=finding.chunk_count,
        sha256=finding.sha256,
        is_repaired=finding.is_repaired,
        job_id=finding.job_id,
    )
