"""ConversationService."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rag.v1 import conversation_service_pb2 as pb
from rag.v1 import conversation_service_pb2_grpc as pb_grpc
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.services.idempotency import Idempotency
from rag_server.services.paging import Pager
from rag_server.services.wire.conversation import to_conversation, to_message
from rag_server.validation.defaults import value_or_default

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""From which size on a page of messages ends early: clients take 4 MiB unless they say otherwise."""


class ConversationServicer(pb_grpc.ConversationServiceServicer):
    """Creates, shows, changes and deletes conversations."""

    def __init__(self, database: Database, idempotency: Idempotency, *, max_conversations: int) -> None:
        self._database = database
        self._idempotency = idempotency
        self._max_conversations = max_conversations

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, context: Any
    ) -> pb.CreateConversationResponse:
        """Make an empty conversation."""

        async def create(tx: Transaction) -> pb.CreateConversationResponse:
            conversation = await tx.conversations.create(
                current_call.get().tenant_id,
                title=request.conversation.title,
                max_count=self._max_conversations,
            )
            return pb.CreateConversationResponse(conversation=to_conversation(conversation))

        return await self._idempotency.once(request, pb.CreateConversationResponse, create)

    async def GetConversation(
        self, request: pb.GetConversationRequest, context: Any
    ) -> pb.GetConversationResponse:
        """Show one conversation."""
        async with self._database.snapshot() as tx:
            conversation = await tx.conversations.get(current_call.get().tenant_id, request.conversation_id)
        return pb.GetConversationResponse(conversation=to_conversation(conversation))

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Any
    ) -> pb.ListConversationsResponse:
        """List the conversations, the one that was changed last first."""
        pager = Pager(value_or_default(request, "page_size"), request.page_token, key=(datetime, str))
        async with self._database.snapshot() as tx:
            found = await tx.conversations.list(
                current_call.get().tenant_id,
                after=(pager.after[0], pager.after[1]) if pager.after else None,
                limit=pager.limit,
            )
        page, token = pager.cut(found, lambda each: [each.update_time, each.id])
        return pb.ListConversationsResponse(conversations=map(to_conversation, page), next_page_token=token)

    async def UpdateConversation(
        self, request: pb.UpdateConversationRequest, context: Any
    ) -> pb.UpdateConversationResponse:
        """Change the title, the only field that a mask may name."""

        async def update(tx: Transaction) -> pb.UpdateConversationResponse:
            conversation = await tx.conversations.rename(
                current_call.get().tenant_id, request.conversation_id, request.conversation.title
            )
            return pb.UpdateConversationResponse(conversation=to_conversation(conversation))

        return await self._idempotency.once(request, pb.UpdateConversationResponse, update)

    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, context: Any
    ) -> pb.DeleteConversationResponse:
        """Remove a conversation and its messages."""

        async def delete(tx: Transaction) -> pb.DeleteConversationResponse:
            await tx.conversations.delete(current_call.get().tenant_id, request.conversation_id)
            return pb.DeleteConversationResponse()

        return await self._idempotency.once(request, pb.DeleteConversationResponse, delete)

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Any) -> pb.ListMessagesResponse:
        """List the messages of a conversation, oldest first."""
        tenant_id = current_call.get().tenant_id
        size = value_or_default(request, "page_size")
        pager = Pager(size, request.page_token, request.conversation_id, key=(int,))
        async with self._database.snapshot() as tx:
            await tx.conversations.get(tenant_id, request.conversation_id)
            page = await tx.messages.list(
                tenant_id,
                request.conversation_id,
                after=pager.after[0] if pager.after else 0,
                limit=pager.size,
                max_bytes=MAX_PAGE_BYTES,
            )
            is_last = not page or not await tx.messages.has_after(
                tenant_id, request.conversation_id, page[-1].sequence
            )
        token = "" if is_last else pager.token_after([page[-1].sequence])
        return pb.ListMessagesResponse(messages=map(to_message, page), next_page_token=token)
