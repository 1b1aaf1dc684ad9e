"""The wiring of conversations."""

from __future__ import annotations

from collections.abc import Callable

from rag_server.app_generation import GenerationParts
from rag_server.assistants.resident import ResidentAssistants
from rag_server.assistants.routing import Router
from rag_server.assistants.settling import Assistants
from rag_server.backends.protocols import Embedder
from rag_server.background import Background
from rag_server.config import AssistantSettings, ConversationSettings
from rag_server.config.answering import RULES
from rag_server.generation.continuation import Continuation
from rag_server.generation.conversing import Conversing
from rag_server.generation.filters.screen import Screen
from rag_server.generation.follow_up import FollowUpWords
from rag_server.generation.history import HistoryBudget, HistoryWindow
from rag_server.generation.models import Models
from rag_server.generation.naming import TitleWriter
from rag_server.generation.rewriting import Rewriting
from rag_server.generation.summarising import SummaryWriter
from rag_server.generation.turn import TurnLimits, Turns
from rag_server.metadata.database import Database
from rag_server.services.wire.conversation import encode_answer
from rag_server.text.analyzer import Analyzer


def create_conversing(
    settings: ConversationSettings,
    database: Database,
    generation: GenerationParts,
    count: Callable[[str], int],
    analyzer_for: Callable[[str], Analyzer],
    assistants: Assistants,
    background: Background,
    screen: Screen,
) -> Conversing:
    """Return what answers questions; `count` counts a text's tokens, as the generator would.

    What names and summarises conversations runs in `background`, if a model is set for it.
    """
    window = HistoryWindow(count, HistoryBudget(settings.history_messages, settings.history_tokens))
    titles = None
    if settings.title_model:
        titles = TitleWriter(database, generation.tasks, settings.title_model)
        background.start("titles", titles.run)
    summaries = None
    if settings.summary_model:
        summaries = SummaryWriter(database, generation.tasks, window, settings.summary_model, screen)
        background.start("summaries", summaries.run)
    return Conversing(
        generation.answering,
        Turns(database, TurnLimits(settings.lease_s, settings.max_messages)),
        Continuation(
            window,
            Rewriting(
                generation.tasks,
                FollowUpWords(analyzer_for),
                model=None if settings.rewrite_model == RULES else settings.rewrite_model or "",
            ),
            screen,
            has_summaries=summaries is not None,
        ),
        encode_answer,
        assistants,
        titles,
        summaries,
        screen,
    )


def create_assistants(
    settings: AssistantSettings,
    database: Database,
    embedder: Embedder,
    analyzer_for: Callable[[str], Analyzer],
    models: Models,
) -> Assistants:
    """Return what gives questions their assistants."""
    return Assistants(
        database,
        ResidentAssistants(embedder, capacity=settings.resident),
        Router(
            embedder,
            min_similarity=settings.min_similarity,
            min_similarity_untrained=settings.min_similarity_untrained,
        ),
        FollowUpWords(analyzer_for),
        models.knows,
    )
