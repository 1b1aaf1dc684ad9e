"""Settings: frozen, typed, each with its unit and default, from the environment and a TOML file.

Environment variables are `RAG_<GROUP>__<NAME>`, e.g. `RAG_SERVER__PORT=50052`; they win over the file
named by `RAG_CONFIG_FILE`, which has one table per group. The table of the README is generated from this
module (`python -m rag_server.config`) and checked by a test.
"""

from __future__ import annotations

from rag_server.config.answering import (
    ConversationSettings,
    EmbeddingSettings,
    GenerationSettings,
    ModelsSettings,
    RetrievalSettings,
)
from rag_server.config.assistants import AssistantSettings
from rag_server.config.describe import describe_invalid, settings_table
from rag_server.config.fetching import CrawlSettings, FetchSettings
from rag_server.config.filtering import FilterSettings
from rag_server.config.group import Group
from rag_server.config.ingesting import (
    IngestSettings,
    QueueSettings,
    WebhookSettings,
    WorkerSettings,
)
from rag_server.config.keeping import AnswerSettings
from rag_server.config.parsing import ParserSettings
from rag_server.config.serving import LogSettings, MetricsSettings, ServerSettings
from rag_server.config.settings import Settings
from rag_server.config.stores import DatabaseSettings, MilvusSettings, StorageSettings

__all__ = [
    "AnswerSettings",
    "AssistantSettings",
    "ConversationSettings",
    "CrawlSettings",
    "DatabaseSettings",
    "EmbeddingSettings",
    "FetchSettings",
    "FilterSettings",
    "GenerationSettings",
    "Group",
    "IngestSettings",
    "LogSettings",
    "MetricsSettings",
    "MilvusSettings",
    "ModelsSettings",
    "ParserSettings",
    "QueueSettings",
    "RetrievalSettings",
    "ServerSettings",
    "Settings",
    "StorageSettings",
    "WebhookSettings",
    "WorkerSettings",
    "describe_invalid",
    "settings_table",
]
