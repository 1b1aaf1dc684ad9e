"""GenerateService."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rag.v1 import generate_service_pb2 as pb
from rag.v1 import generate_service_pb2_grpc as pb_grpc
from rag.v1 import grounding_pb2
from rag_server.domain.generation import Repeated
from rag_server.generation.check import GroundingCheck
from rag_server.generation.conversing import Conversing
from rag_server.generation.models import Models
from rag_server.interceptors.call import current_call
from rag_server.services.resumable_answers import ResumableAnswers
from rag_server.services.wire.assistant import QuestionMessage
from rag_server.services.wire.conversation import to_repeated
from rag_server.services.wire.grounding import from_sources, to_check_response
from rag_server.services.wire.query import AnswerWriter, collect, from_question


class GenerateServicer(pb_grpc.GenerateServiceServicer):
    """Answers questions from what was ingested, and checks texts against it."""

    def __init__(
        self, conversing: Conversing, models: Models, check: GroundingCheck, resumable: ResumableAnswers
    ) -> None:
        self._conversing = conversing
        self._models = models
        self._check = check
        self._resumable = resumable

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        """Answer a question in one response: the stream, collected."""
        response = pb.GenerateResponse()
        async with aclosing(self._events(request)) as events:
            async for event in events:
                collect(response, event)
        return response

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> AsyncGenerator[pb.StreamGenerateResponse, None]:
        """Answer a question as a stream of events, or go on with an answer."""
        tenant_id = current_call.get().tenant_id
        if request.resume_cursor:
            answer = self._resumable.resume(tenant_id, request)
        elif request.HasField("resume_window_ms"):
            answer = self._resumable.begin(tenant_id, request, lambda: self._events(request))
        else:
            answer = self._events(request)
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    async def CheckGrounding(
        self, request: grounding_pb2.CheckGroundingRequest, context: Any
    ) -> grounding_pb2.CheckGroundingResponse:
        """Say how far a text says what passages say."""
        call = current_call.get()
        checked = await self._check.check(
            call.tenant_id, request.text, from_sources(request), request.language, limit=call.limit
        )
        return to_check_response(checked)

    async def CountTokens(self, request: pb.CountTokensRequest, context: Any) -> pb.CountTokensResponse:
        """Count the tokens of texts as a model does."""
        model, counts = await self._models.count_tokens(request.model, request.texts)
        return pb.CountTokensResponse(
            token_counts=counts,
            model=model.name,
            is_estimated=not model.counts_exactly,
            window_tokens=model.window_tokens,
        )

    async def _events(self, request: QuestionMessage) -> AsyncGenerator[pb.StreamGenerateResponse, None]:
        writer = AnswerWriter()
        call = current_call.get()
        answer = self._conversing.answer(call.tenant_id, from_question(request), limit=call.limit)
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Repeated):
                    for each in to_repeated(event):
                        yield each
                else:
                    yield writer.to_event(event)
