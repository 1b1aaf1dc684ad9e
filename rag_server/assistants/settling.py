"""Settles which assistant answers a question, and makes the request what it is with that one's settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from rag_server.assistants.resident import ResidentAssistants
from rag_server.assistants.routing import Router
from rag_server.domain.assistant import AUTO, Assistant, AssistantChoice, Selection
from rag_server.domain.conversation import HistoryMessage
from rag_server.domain.generation import GenerationRequest
from rag_server.domain.rewriting import ModelRewriting
from rag_server.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from rag_server.generation.follow_up import FollowUpWords
from rag_server.metadata.database import Database
from rag_server.text.language import detect_language

ROUNDS: Final = 3
"""Times that a question is routed because the assistant that it got was deleted meanwhile."""

_Settled = tuple[Assistant | None, AssistantChoice]


class Assistants:
    """Gives questions their assistants, as these are now: on every server the same."""

    def __init__(
        self,
        database: Database,
        resident: ResidentAssistants,
        router: Router,
        words: FollowUpWords,
        knows_model: Callable[[str], bool],
    ) -> None:
        """Give questions the assistants that `database` has.

        `words` has follow-up questions say what they are about, before they are routed; `knows_model` says
        whether this server has a model, or an alias, of that name.
        """
        self._database = database
        self._resident = resident
        self._router = router
        self._words = words
        self._knows_model = knows_model

    async def settle(
        self, tenant_id: str, request: GenerationRequest, history: Sequence[HistoryMessage] = ()
    ) -> GenerationRequest:
        """Return the request with the settings of its assistant; one that asks for none as it is.

        Raises `NotFound` (`ASSISTANT_NOT_FOUND`), `FailedPrecondition` (`ASSISTANT_UNDECIDED`,
        `ASSISTANT_COLLECTION_NOT_FOUND`, `ASSISTANT_MODEL_UNKNOWN`), and `InvalidArgument` where request and
        assistant do not go together.
        """
        asked = request.assistant
        if asked is None:
            return request
        if asked.name == AUTO:
            question = await self._standing_alone(request.question, history)
            assistant, choice = await self._routed(tenant_id, question)
        else:
            assistant, choice = await self._named(tenant_id, asked.name)
        if not request.retrieval.collection_ids:
            await self._check_place(tenant_id, assistant)
        settled = asked.merged(assistant)
        if assistant is not None:
            self._check_models(assistant, _models_of(settled) - _models_of(request))
        return replace(
            settled,
            # Filters may have changed the words: those of the message are not to be used any longer.
            retrieval=replace(settled.retrieval, query=request.retrieval.query),
            asked=request.asked,
            history=request.history,
            conversation=request.conversation,
            assistant=None,
            choice=choice,
            instructions=assistant.profile.instructions if assistant else "",
        )

    async def _standing_alone(self, question: str, history: Sequence[HistoryMessage]) -> str:
        if not history:
            return question
        language = await asyncio.to_thread(detect_language, question)
        return await self._words.rewrite(question, history, language)

    async def _named(self, tenant_id: str, name: str) -> _Settled:
        try:
            async with self._database.snapshot() as tx:
                assistant = await tx.assistants.get(tenant_id, name)
        except NotFound as error:
            raise error.in_field("assistant") from None
        return assistant, AssistantChoice(Selection.NAMED, assistant.id, assistant.revision)

    async def _routed(self, tenant_id: str, question: str) -> _Settled:
        score: float | None = None
        for _ in range(ROUNDS):
            async with self._database.snapshot() as tx:
                heads = await tx.assistants.heads(tenant_id)
            known = await self._resident.get(tenant_id, heads, lambda uids: self._load(tenant_id, uids))
            route = await self._router.route(question, known)
            selection, uid, score = route.selection, route.uid, route.score
            if not uid:
                selection = Selection.DEFAULT
                uid = next((head.uid for head in heads if head.is_default), "")
            if not uid:
                break
            for assistant in await self._load(tenant_id, [uid]):
                return assistant, AssistantChoice(
                    selection, assistant.id, assistant.revision, route.matched, score
                )
        return None, AssistantChoice(Selection.NONE, score=score)

    async def _load(self, tenant_id: str, uids: Sequence[str]) -> Sequence[Assistant]:
        async with self._database.snapshot() as tx:
            return await tx.assistants.by_uids(tenant_id, uids)

    def _check_models(self, assistant: Assistant, names: Iterable[str]) -> None:
        """Refuse an assistant with a model that the server had when the assistant was made."""
        for name in sorted(names):
            if not self._knows_model(name):
                description = f"the server does not have the model {name!r} of the assistant {assistant.id!r}"
                raise FailedPrecondition(
                    "ASSISTANT_MODEL_UNKNOWN",
                    f"assistant: {description}: update it, or name another model",
                    metadata={"assistant": assistant.id, "model": name},
                    violations=[FieldViolation("assistant", description)],
                )

    async def _check_place(self, tenant_id: str, assistant: Assistant | None) -> None:
        """Refuse a question that names no collection where its assistant has none to search, either."""
        if assistant is None:
            raise FailedPrecondition(
                "ASSISTANT_UNDECIDED",
                "assistant: no assistant fits the question and none is the default: name one, or collections",
                violations=[FieldViolation("assistant", "no assistant fits the question")],
            )
        if not assistant.profile.collection_ids:
            raise InvalidArgument.for_field(
                "collection_ids", f"are required: the assistant {assistant.id!r} has none"
            )
        async with self._database.snapshot() as tx:
            absent = await tx.collections.absent(tenant_id, assistant.profile.collection_ids)
        if absent:
            description = f"the collection {absent[0]!r} of the assistant {assistant.id!r} was deleted"
            raise FailedPrecondition(
                "ASSISTANT_COLLECTION_NOT_FOUND",
                f"assistant: {description}",
                metadata={"assistant": assistant.id, "collection": absent[0]},
                violations=[FieldViolation("assistant", description)],
            )


def _models_of(request: GenerationRequest) -> set[str]:
    """Return the models and aliases that a request names."""
    expansion = "" if request.expansion is None else request.expansion.model
    rewriting = request.rewriting.model if isinstance(request.rewriting, ModelRewriting) else ""
    return {request.model, expansion, rewriting} - {""}
