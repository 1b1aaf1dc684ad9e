"""AssistantService."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rag.v1 import assistant_service_pb2 as pb
from rag.v1 import assistant_service_pb2_grpc as pb_grpc
from rag.v1.assistant_pb2 import Assistant as AssistantMessage
from rag_server.assistants.keywords import check_keywords
from rag_server.config import AssistantSettings
from rag_server.domain.assistant import Assistant
from rag_server.errors import NotFound
from rag_server.generation.models import Models
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.idempotency import Idempotency
from rag_server.services.paging import Pager
from rag_server.services.wire.assistant import changed, from_assistant, named_models, to_assistant
from rag_server.validation.defaults import value_or_default

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""From which size on a page ends early: clients take 4 MiB unless they say otherwise."""


class AssistantServicer(pb_grpc.AssistantServiceServicer):
    """Creates, shows, changes, deletes and restores assistants."""

    def __init__(
        self, settings: AssistantSettings, database: Database, idempotency: Idempotency, models: Models
    ) -> None:
        self._settings = settings
        self._database = database
        self._idempotency = idempotency
        self._models = models

    async def CreateAssistant(
        self, request: pb.CreateAssistantRequest, context: Any
    ) -> pb.CreateAssistantResponse:
        """Make an assistant."""
        tenant_id, new = current_call.get().tenant_id, request.assistant
        profile = from_assistant(new)
        self._check_models(new)
        await asyncio.to_thread(check_keywords, profile.keywords, profile.language)

        async def create(tx: Transaction) -> pb.CreateAssistantResponse:
            await _check_collections(tx, tenant_id, new.collection_ids)
            assistant = await tx.assistants.create(
                tenant_id, request.assistant_id, profile, max_count=self._settings.max_assistants
            )
            if new.is_default:
                assistant = await tx.assistants.mark_default(tenant_id, assistant.id, is_default=True)
            return pb.CreateAssistantResponse(assistant=to_assistant(assistant))

        return await self._idempotency.once(request, pb.CreateAssistantResponse, create)

    async def GetAssistant(self, request: pb.GetAssistantRequest, context: Any) -> pb.GetAssistantResponse:
        """Show one assistant."""
        async with self._database.snapshot() as tx:
            assistant = await tx.assistants.get(current_call.get().tenant_id, request.assistant_id)
        return pb.GetAssistantResponse(assistant=to_assistant(assistant))

    async def ListAssistants(
        self, request: pb.ListAssistantsRequest, context: Any
    ) -> pb.ListAssistantsResponse:
        """List the assistants by id."""
        pager = Pager(value_or_default(request, "page_size"), request.page_token)
        async with self._database.snapshot() as tx:
            found = await tx.assistants.list(
                current_call.get().tenant_id,
                after_id=pager.after[0] if pager.after else "",
                limit=pager.limit,
            )
        page = _page(found, pager.size)
        token = pager.token_after([page[-1].id]) if len(page) < len(found) else ""
        return pb.ListAssistantsResponse(assistants=page, next_page_token=token)

    async def UpdateAssistant(
        self, request: pb.UpdateAssistantRequest, context: Any
    ) -> pb.UpdateAssistantResponse:
        """Change what the mask names."""
        tenant_id, new = current_call.get().tenant_id, request.assistant
        paths = set(request.update_mask.paths)
        if any(path.partition(".")[0] == "generation" for path in paths):
            self._check_models(new)

        async def update(tx: Transaction) -> pb.UpdateAssistantResponse:
            assistant = await tx.assistants.update(
                tenant_id,
                request.assistant_id,
                lambda present: changed(present, request),
                kept=self._settings.kept_revisions,
            )
            if paths & {"keywords", "language"}:  # either decides what the other means
                said = assistant.profile
                await asyncio.to_thread(check_keywords, said.keywords, said.language)
            if "collection_ids" in paths:
                await _check_collections(tx, tenant_id, new.collection_ids)
            if "is_default" in paths:
                assistant = await tx.assistants.mark_default(
                    tenant_id, request.assistant_id, is_default=new.is_default
                )
            return pb.UpdateAssistantResponse(assistant=to_assistant(assistant))

        return await self._idempotency.once(request, pb.UpdateAssistantResponse, update)

    async def DeleteAssistant(
        self, request: pb.DeleteAssistantRequest, context: Any
    ) -> pb.DeleteAssistantResponse:
        """Remove an assistant and its revisions."""

        async def delete(tx: Transaction) -> pb.DeleteAssistantResponse:
            await tx.assistants.delete(current_call.get().tenant_id, request.assistant_id)
            return pb.DeleteAssistantResponse()

        return await self._idempotency.once(request, pb.DeleteAssistantResponse, delete)

    async def ListAssistantRevisions(
        self, request: pb.ListAssistantRevisionsRequest, context: Any
    ) -> pb.ListAssistantRevisionsResponse:
        """List the kept revisions of an assistant, newest first."""
        size = value_or_default(request, "page_size")
        pager = Pager(size, request.page_token, request.assistant_id, key=(int,))
        async with self._database.snapshot() as tx:
            found = await tx.assistants.revisions(
                current_call.get().tenant_id,
                request.assistant_id,
                before=pager.after[0] if pager.after else None,
                limit=pager.limit,
            )
        page = _page(found, pager.size)
        token = pager.token_after([page[-1].revision]) if len(page) < len(found) else ""
        return pb.ListAssistantRevisionsResponse(revisions=page, next_page_token=token)

    async def RestoreAssistantRevision(
        self, request: pb.RestoreAssistantRevisionRequest, context: Any
    ) -> pb.RestoreAssistantRevisionResponse:
        """Make a revision with the content of an earlier one."""

        async def restore(tx: Transaction) -> pb.RestoreAssistantRevisionResponse:
            assistant = await tx.assistants.restore(
                current_call.get().tenant_id,
                request.assistant_id,
                request.revision if request.HasField("revision") else None,
                kept=self._settings.kept_revisions,
            )
            return pb.RestoreAssistantRevisionResponse(assistant=to_assistant(assistant))

        return await self._idempotency.once(request, pb.RestoreAssistantRevisionResponse, restore)

    def _check_models(self, new: AssistantMessage) -> None:
        """Refuse models that this server does not have."""
        for path, name in named_models(new.generation):
            self._models.route(name, path=f"assistant.generation.{path}")


async def _check_collections(tx: Transaction, tenant_id: str, collection_ids: Sequence[str]) -> None:
    absent = await tx.collections.absent(tenant_id, collection_ids)
    if absent:
        field = f"assistant.collection_ids[{list(collection_ids).index(absent[0])}]"
        raise NotFound.for_resource("collection", absent[0]).in_field(field)


def _page(found: Sequence[Assistant], size: int) -> list[AssistantMessage]:
    """Return as many of `found` as a page has place for, at least one."""
    page: list[AssistantMessage] = []
    left = MAX_PAGE_BYTES
    for each in found[:size]:
        message = to_assistant(each)
        left -= message.ByteSize()
        if page and left < 0:
            break
        page.append(message)
    return page
