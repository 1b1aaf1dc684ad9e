"""Settings: frozen, typed, each with its unit and default, from the environment and a TOML file.

Environment variables are `RAG_<GROUP>__<NAME>`, e.g. `RAG_SERVER__PORT=50052`; they win over the file
named by `RAG_CONFIG_FILE`, which has one table per group. The table of the README is generated from this
module (`python -m rag_server.config`) and checked by a test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rag_server.errors import FailedPrecondition

MEBIBYTE = 1024 * 1024


class Group(BaseModel):
    """Base of the groups: immutable, unknown names refused, descriptions taken from the docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ServerSettings(Group):
    """The gRPC server and the limits of a call."""

    host: str = "127.0.0.1"
    """Address to listen on. There is no authentication yet: keep it on loopback or a trusted network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 50051
    """TCP port; 0 takes a free one and logs it."""
    max_message_bytes: Annotated[int, Field(ge=65536)] = 36 * MEBIBYTE
    """Largest message taken or sent, in bytes."""
    max_metadata_bytes: Annotated[int, Field(ge=1024)] = 16384
    """Largest request metadata (headers), in bytes."""
    max_concurrent_calls: Annotated[int, Field(ge=1)] = 256
    """Calls worked on at once; more are refused with RESOURCE_EXHAUSTED. Health and reflection are free."""
    max_watches: Annotated[int, Field(ge=1)] = 1024
    """WatchJob streams open at once, which mostly wait and do not count as calls; more are refused."""
    default_deadline_s: Annotated[float, Field(gt=0)] = 30.0
    """Deadline of a unary call whose client set none, in seconds."""
    default_stream_deadline_s: Annotated[float, Field(gt=0)] = 3600.0
    """Deadline of a streaming call whose client set none, in seconds."""
    keepalive_time_s: Annotated[float, Field(gt=0)] = 60.0
    """Idle time after which the server pings a connection, in seconds."""
    keepalive_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """Time to answer a ping before the connection is closed, in seconds."""
    min_client_ping_interval_s: Annotated[float, Field(gt=0)] = 10.0
    """Clients that ping more often are told to calm down, in seconds."""
    shutdown_grace_s: Annotated[float, Field(ge=0)] = 20.0
    """Time that running calls get after SIGTERM, in seconds."""
    health_interval_s: Annotated[float, Field(gt=0)] = 5.0
    """Time between two looks at the parts (metadata, chunk store, embedder, ingest), in seconds."""


class StorageSettings(Group):
    """Where the embedded server keeps its state."""

    data_dir: Path = Path("data")
    """Folder of the database, the vectors and the uploaded bytes; made when missing. One server at a time."""
    max_document_bytes: Annotated[int, Field(ge=1024)] = 100 * MEBIBYTE
    """Largest document by any way in, in bytes."""


class DatabaseSettings(Group):
    """The relational database: collections, documents, jobs."""

    url: SecretStr = SecretStr("")
    """SQLAlchemy URL, `sqlite+aiosqlite:///FILE`; empty: a file in the data folder. Never logged."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith("sqlite+aiosqlite:///"):
            raise ValueError("has to be sqlite+aiosqlite:///FILE")
        return url


class MilvusSettings(Group):
    """The vector and chunk store."""

    uri: str = ""
    """`http://host:port` of a Milvus server (experimental); empty: Milvus Lite in the data folder."""
    token: SecretStr = SecretStr("")
    """`user:password` or API key of a Milvus server; never logged."""
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest wait for one operation, in seconds."""


class EmbeddingSettings(Group):
    """The embedding model."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Name or folder of a sentence-transformers model (Transformer + mean or CLS pooling)."""
    cache_dir: Path | None = None
    """Folder of exported models; unset: `rag-server/models` under XDG_CACHE_HOME or `~/.cache`."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of one model run; 0: as many as there are cores."""
    queue_calls: Annotated[int, Field(ge=1)] = 256
    """Calls that may wait for the model; more are refused with RESOURCE_EXHAUSTED."""


class RetrievalSettings(Group):
    """Retrieval."""

    overfetch: Annotated[float, Field(ge=1, le=100)] = 1.5
    """Candidates asked from the store per candidate wanted, since some may belong to replaced documents."""
    resident_memory_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Memory for collections that are searched in memory; a larger collection is searched in the store."""
    resident_ttl_s: Annotated[float, Field(gt=0)] = 21_600.0
    """How long a collection stays in memory that nobody asks, in seconds."""
    preload_collections: Annotated[int, Field(ge=0, le=1000)] = 16
    """Collections, of those that were asked last, that are brought into memory at start."""
    snapshots: bool = True
    """Whether collections in memory are also written below `storage.data_dir`, for a quick start."""
    search_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that search collections in memory."""
    filter_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for what filters let pass."""
    result_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for answers to retrieval requests that may come again; 0: none are kept."""
    embedding_cache_bytes: Annotated[int, Field(ge=0)] = 16 * 1024**2
    """Memory for the vectors of queries that may come again; 0: none are kept."""
    cross_encoder: str = ""
    """Model that reranks on request, as for `embedding.model`; empty: none, late interaction only."""


class GenerationSettings(Group):
    """Answers of the extractive generator."""

    max_quotes: Annotated[int, Field(ge=1, le=20)] = 3
    """Sentences that an extractive answer quotes at most."""


class IngestSettings(Group):
    """Ingest jobs."""

    concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    """Jobs worked on at once in this process."""
    max_attempts: Annotated[int, Field(ge=1)] = 5
    """Attempts before a job whose failures may pass (a store that is down) is given up."""
    max_starts: Annotated[int, Field(ge=1)] = 20
    """Starts of one job, those included that ended with the process, before it is given up as harmful."""
    retry_backoff_s: Annotated[float, Field(gt=0)] = 1.0
    """Wait before the second attempt, in seconds; doubled each time, with jitter, up to a minute."""
    embedding_batch_chunks: Annotated[int, Field(ge=1, le=1024)] = 32
    """Chunks embedded and written at a time; a cancelled job stops between two batches."""
    max_waiting_jobs: Annotated[int, Field(ge=1)] = 100_000
    """Jobs that may wait to be worked on; more are refused with RESOURCE_EXHAUSTED."""
    request_id_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    """How long a `request_id` is remembered, in seconds."""


class FetchSettings(Group):
    """Documents that are given by URI."""

    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for one document, redirects included, in seconds."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    """Redirects followed; the address is checked on each."""
    allow_private_addresses: bool = False
    """Whether loopback, private and link-local addresses may be fetched. Leave it off on a shared server."""
    user_agent: str = "rag-server"
    """User-Agent header that is sent."""


class LogSettings(Group):
    """Logs, on standard error."""

    format: Literal["console", "json"] = "console"
    """`console` for people, `json` for machines: one object per line."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is written."""


class MetricsSettings(Group):
    """Prometheus metrics."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """HTTP port of `/metrics`; 0: not served."""
    host: str = "127.0.0.1"
    """Address that `/metrics` listens on."""


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
    ingest: IngestSettings = IngestSettings()
    fetch: FetchSettings = FetchSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

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


def describe_invalid(error: ValidationError) -> str:
    """Return what is wrong with the settings, one line per variable, without showing any value."""
    lines = ["wrong settings:"]
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        variable = "RAG_" + "__".join(str(part) for part in each["loc"]).upper()
        lines.append(f"  {variable}: {each['msg']}")
    return "\n".join(lines)


def settings_table() -> str:
    """Return the settings as a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for group_name, group_field in Settings.model_fields.items():
        group = group_field.annotation
        assert isinstance(group, type)
        assert issubclass(group, Group)
        for name, field in group.model_fields.items():
            default = field.default
            if isinstance(default, SecretStr):
                default = default.get_secret_value()
            shown = "unset" if default in ("", None) else f"`{default}`"
            rows.append(f"| `RAG_{group_name.upper()}__{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - the output is what the module is run for
