"""All settings of one process, and where they come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rag_server.config.answering import (
    EXTRACTIVE,
    RULES,
    ConversationSettings,
    EmbeddingSettings,
    GenerationSettings,
    ModelsSettings,
    RetrievalSettings,
)
from rag_server.config.assistants import AssistantSettings
from rag_server.config.fetching import CrawlSettings, FetchSettings
from rag_server.config.filtering import FilterSettings
from rag_server.config.ingesting import (
    IngestSettings,
    QueueSettings,
    WebhookSettings,
    WorkerSettings,
)
from rag_server.config.keeping import AnswerSettings
from rag_server.config.parsing import ParserSettings
from rag_server.config.serving import LogSettings, MetricsSettings, ServerSettings
from rag_server.config.stores import DatabaseSettings, MilvusSettings, StorageSettings
from rag_server.errors import FailedPrecondition


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="RAG_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    milvus: MilvusSettings = MilvusSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    generation: GenerationSettings = GenerationSettings()
    models: ModelsSettings = ModelsSettings()
    answers: AnswerSettings = AnswerSettings()
    conversations: ConversationSettings = ConversationSettings()
    filters: FilterSettings = FilterSettings()
    assistants: AssistantSettings = AssistantSettings()
    ingest: IngestSettings = IngestSettings()
    parser: ParserSettings = ParserSettings()
    queue: QueueSettings = QueueSettings()
    worker: WorkerSettings = WorkerSettings()
    fetch: FetchSettings = FetchSettings()
    crawl: CrawlSettings = CrawlSettings()
    webhooks: WebhookSettings = WebhookSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @model_validator(mode="after")
    def _check_models_of_conversations(self) -> Self:
        own = self.conversations
        known = {*self.models.models, *self.models.aliases, "default", EXTRACTIVE}
        if own.rewrite_model is not None and own.rewrite_model not in {RULES, *known}:
            raise ValueError("`conversations.rewrite_model` names a model that is not among `models`")
        if own.title_model and own.title_model not in known - {EXTRACTIVE}:
            raise ValueError("`conversations.title_model` names no model that writes, or none of `models`")
        if own.summary_model and own.summary_model not in known - {EXTRACTIVE}:
            raise ValueError("`conversations.summary_model` names no model that writes, or none of `models`")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file.

        Raises `FailedPrecondition` (`CONFIG_FILE_UNUSABLE`): a file that is named has to be there.
        """
        config_file = os.environ.get("RAG_CONFIG_FILE")
        if not config_file:
            return init_settings, env_settings
        try:
            with Path(config_file).open("rb"):
                file_settings = TomlConfigSettingsSource(settings_cls, config_file)
        except (OSError, ValueError) as error:  # tomllib's error is a ValueError
            problem = error.strerror if isinstance(error, OSError) else "it is not TOML"
            raise FailedPrecondition(
                "CONFIG_FILE_UNUSABLE", f"cannot read the file named by RAG_CONFIG_FILE: {problem}"
            ) from error
        return init_settings, env_settings, file_settings
