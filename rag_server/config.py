"""Settings: frozen, typed, each with its unit and default, from the environment and a TOML file.

Environment variables are `RAG_<GROUP>__<NAME>`, e.g. `RAG_SERVER__PORT=50052`; they win over the file
named by `RAG_CONFIG_FILE`, which has one table per group. The table of the README is generated from this
module (`python -m rag_server.config`) and checked by a test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rag_server.domain.archive import MAX_ENTRIES, MAX_UNPACKED_BYTES
from rag_server.domain.document import MediaType
from rag_server.domain.revision import KEPT_REVISIONS
from rag_server.errors import FailedPrecondition

MEBIBYTE = 1024 * 1024
_OCR_MEMORY_BYTES = 768 * MEBIBYTE
_DOCLING_MEMORY_BYTES = 512 * MEBIBYTE
_DOCLING_FORMATS = {
    each.name.lower(): each
    for each in (MediaType.DOCX, MediaType.HTML, MediaType.MARKDOWN, MediaType.PPTX, MediaType.XLSX)
}
"""Those whose readers need no model."""
MIN_SECRET_CHARACTERS = 16
SECRET_NAME_PATTERN = "^[A-Za-z0-9_-]{1,64}$"  # noqa: S105 - a pattern


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
    stream_idle_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest wait for a client's next message in a stream, and for it to take a response, in seconds."""
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
    blob_url: str = ""
    """`s3://BUCKET/PREFIX` for the uploaded bytes (needs the extra `s3`; credentials as for any AWS client);
    empty: a folder in the data folder."""
    blob_endpoint: str = ""
    """`http://host:port` of another S3 service, such as MinIO; empty: that of AWS."""
    blob_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest time to read or write one document in S3, in seconds."""

    @field_validator("blob_url")
    @classmethod
    def _check_blob_url(cls, url: str) -> str:
        bucket = url.removeprefix("s3://").partition("/")[0]
        if url and (not url.startswith("s3://") or not bucket or "@" in bucket):
            raise ValueError("has to be s3://BUCKET or s3://BUCKET/PREFIX")
        return url


class DatabaseSettings(Group):
    """The relational database: collections, documents, jobs."""

    url: SecretStr = SecretStr("")
    """`sqlite+aiosqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`; empty: a
    SQLite file in the data folder. Never logged."""
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 8
    """Connections to PostgreSQL for writing, and as many again for reading."""
    pool_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest wait for one of these connections, in seconds."""
    connect_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """Longest time to connect to PostgreSQL, in seconds."""
    statement_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Time after which PostgreSQL gives up a statement, in seconds."""
    lock_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest wait in PostgreSQL for a lock that another call holds, in seconds."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        value = url.get_secret_value()
        if not value or value.startswith("sqlite+aiosqlite:///"):
            return url
        if not value.startswith("postgres"):
            raise ValueError("has to be sqlite+aiosqlite:///FILE or postgresql://USER@HOST/DATABASE")
        from rag_server.metadata.postgres import normalised_url

        return SecretStr(normalised_url(value))


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
    lease_s: Annotated[float, Field(ge=0.1)] = 30.0
    """How long a job belongs to a worker that is not heard of, in seconds; renewed three times in between."""
    failed_job_ttl_s: Annotated[float, Field(gt=0)] = 604_800.0
    """How long the bytes of a failed job are kept for RetryJob, in seconds."""
    max_waiting_jobs: Annotated[int, Field(ge=1)] = 100_000
    """Jobs that may wait to be worked on; more are refused with RESOURCE_EXHAUSTED."""
    kept_revisions: Annotated[int, Field(ge=1, le=1000)] = KEPT_REVISIONS
    """Revisions of a document that can be listed, downloaded and restored, the visible one included."""
    upload_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    """How long an upload of StartUpload is kept after its last part, or its end, in seconds."""
    upload_part_bytes: Annotated[int, Field(ge=1024, le=1024 * MEBIBYTE)] = 4 * MEBIBYTE
    """Bytes of such an upload that are made safe at a time: what a broken stream has to send again at most,
    and one message."""
    max_open_uploads: Annotated[int, Field(ge=1)] = 1000
    """Such uploads that a tenant may have open; more are refused with RESOURCE_EXHAUSTED."""
    stream_window_items: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Items of one IngestDocuments stream that may be sent ahead of their answers."""
    stream_window_bytes: Annotated[int, Field(ge=1024, le=1024 * MEBIBYTE)] = 16 * MEBIBYTE
    """Bytes of content that they may have; the last of them may go beyond it."""
    dry_runs: Annotated[int, Field(ge=1, le=64)] = 2
    """Dry runs at once, each with a parser process; more are refused with RESOURCE_EXHAUSTED."""
    max_archive_entries: Annotated[int, Field(ge=1, le=100_000)] = MAX_ENTRIES
    """Files in one ZIP archive, those included that lie in archives within it."""
    max_archive_bytes: Annotated[int, Field(ge=1)] = MAX_UNPACKED_BYTES
    """What one ZIP archive may unpack to, in bytes, together with the archives within it."""
    request_id_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    """How long a `request_id` is remembered, in seconds."""


def _docling_names(setting: str) -> list[str]:
    return [name for each in setting.split(",") if (name := each.strip().lower())]


class ParserSettings(Group):
    """The processes that read documents, and what one of them may use."""

    processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Documents read at once, each in a process of its own; started with the first document."""
    cpu_s: Annotated[float, Field(gt=0)] = 30.0
    """Processor time for reading one document, in seconds."""
    wall_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for reading one document, in seconds."""
    memory_bytes: Annotated[int, Field(ge=256 * MEBIBYTE)] = 1024 * MEBIBYTE
    """Memory of one process."""
    output_bytes: Annotated[int, Field(ge=65536, le=2 * 1024**3)] = 256 * MEBIBYTE
    """Largest text and structure that a document may become, in bytes."""
    documents_per_process: Annotated[int, Field(ge=1)] = 100
    """Documents after which a process is replaced by a new one."""
    ocr: bool = False
    """Whether pages of PDFs without a text layer are read by OCR (needs the extra `ocr`, and `memory_bytes`
    of 768 MiB or more)."""
    ocr_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Time for the scanned pages of one PDF, in seconds, beyond `cpu_s` and `wall_s`; those that it does not
    suffice for stay unread."""
    docling: str = ""
    """Formats that docling reads instead, separated by commas: docx, html, markdown, pptx, xlsx (needs the
    extra `docling`, and `memory_bytes` of 512 MiB or more); empty: none."""

    @field_validator("ocr")
    @classmethod
    def _check_memory(cls, ocr: bool, info: ValidationInfo) -> bool:
        if ocr and info.data.get("memory_bytes", _OCR_MEMORY_BYTES) < _OCR_MEMORY_BYTES:
            raise ValueError(f"needs memory_bytes of {_OCR_MEMORY_BYTES} or more")
        return ocr

    @field_validator("docling")
    @classmethod
    def _check_docling(cls, docling: str, info: ValidationInfo) -> str:
        names = _docling_names(docling)
        unknown = [name for name in names if name not in _DOCLING_FORMATS]
        if "pdf" in unknown:
            raise ValueError(
                "PDF is not among the formats: docling needs models for it; PDFs are read as ever"
            )
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(_DOCLING_FORMATS)}")
        if names and info.data.get("memory_bytes", _DOCLING_MEMORY_BYTES) < _DOCLING_MEMORY_BYTES:
            raise ValueError(f"needs memory_bytes of {_DOCLING_MEMORY_BYTES} or more")
        return docling

    @property
    def docling_media_types(self) -> tuple[str, ...]:
        """Media types of the documents that docling reads, in order."""
        return tuple(sorted({_DOCLING_FORMATS[name].value for name in _docling_names(self.docling)}))


class QueueSettings(Group):
    """The job queue, and what servers and workers tell each other."""

    url: SecretStr = SecretStr("")
    """`amqp://user:password@host:port/vhost` of RabbitMQ, which hands jobs to workers; empty: in memory,
    and the server does the work itself. Never logged."""
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "rag"
    """What the names of all queues and exchanges begin with."""
    work_in_server: bool = False
    """Whether a server with a broker works on jobs, too, beside the workers."""
    ready_jobs: Annotated[int, Field(ge=1, le=100_000)] = 8
    """Jobs of a priority that wait in the queue at most; the others wait in the database, by tenants."""
    delivery_limit: Annotated[int, Field(ge=1, le=1000)] = 20
    """Deliveries of one message that end with their worker before it is given up; as the queues are made."""
    poll_s: Annotated[float, Field(gt=0)] = 5.0
    """How soon jobs are published that a server left behind which has died, in seconds."""
    stranded_after_s: Annotated[float, Field(gt=0)] = 900.0
    """Time without a change after which a job that nobody works on is published again, in seconds."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(("amqp://", "amqps://")):
            raise ValueError("has to be amqp:// or amqps://")
        return url


class WorkerSettings(Group):
    """A worker: `python -m ingest_worker`."""

    host: str = "127.0.0.1"
    """Address that health (grpc.health.v1) listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 50061
    """TCP port of health; 0 takes a free one and logs it."""
    drain_grace_s: Annotated[float, Field(ge=0)] = 30.0
    """Time that jobs get after SIGTERM, in seconds; those that need longer go to other workers."""


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


class CrawlSettings(Group):
    """Crawls of web sites, beside what `fetch` says of addresses and the user agent."""

    requests_per_second: Annotated[float, Field(ge=0.01, le=10_000)] = 4.0
    """Requests to one host; a crawl-delay of its robots.txt makes them fewer."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """Pages of one crawl that are fetched at once."""
    concurrency_per_host: Annotated[int, Field(ge=1, le=16)] = 2
    """Pages that are fetched at once from one host."""
    page_timeout_s: Annotated[float, Field(ge=0.001, le=600)] = 30.0
    """Longest time for one request, in seconds."""
    max_page_bytes: Annotated[int, Field(ge=1)] = 10 * MEBIBYTE
    """Largest page or linked document, in bytes."""
    max_total_bytes: Annotated[int, Field(ge=1)] = 512 * MEBIBYTE
    """What one crawl may fetch in all, in bytes."""
    max_duration_s: Annotated[float, Field(ge=0.001, le=604_800)] = 3600.0
    """How long one crawl may fetch, in seconds."""
    slice_s: Annotated[float, Field(gt=0)] = 30.0
    """How long a crawl keeps its place before other jobs have their turn, in seconds."""


class WebhookSettings(Group):
    """Webhooks: the ends of jobs, told to callers' own servers. The servers send them, not the workers."""

    secrets: dict[Annotated[str, Field(pattern=SECRET_NAME_PATTERN)], SecretStr] = {}
    """Secrets that sign webhooks, by name, as JSON: `{"billing": "..."}`, each of 16 characters or more.
    Never logged."""
    allow_private_addresses: bool = False
    """Whether loopback, private and link-local addresses may be posted to. Off on a shared server."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest time for one attempt, in seconds."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts before a delivery is given up; with the default pauses, after some 85 minutes."""
    backoff_s: Annotated[float, Field(gt=0)] = 10.0
    """Wait before the second attempt, in seconds; doubled each time, with jitter, up to an hour."""
    poll_s: Annotated[float, Field(gt=0)] = 5.0
    """How soon deliveries are seen that another process has made, in seconds."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Attempts at once in one server."""
    user_agent: str = "rag-server"
    """User-Agent header that is sent."""

    @field_validator("secrets")
    @classmethod
    def _check_secrets(cls, secrets: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if any(len(secret.get_secret_value()) < MIN_SECRET_CHARACTERS for secret in secrets.values()):
            raise ValueError(f"each secret has to have {MIN_SECRET_CHARACTERS} characters or more")
        return secrets


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
    parser: ParserSettings = ParserSettings()
    queue: QueueSettings = QueueSettings()
    worker: WorkerSettings = WorkerSettings()
    fetch: FetchSettings = FetchSettings()
    crawl: CrawlSettings = CrawlSettings()
    webhooks: WebhookSettings = WebhookSettings()
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
            shown = "unset" if default in ("", None, {}) else f"`{default}`"
            description = " ".join((field.description or "").split())
            rows.append(f"| `RAG_{group_name.upper()}__{name.upper()}` | {shown} | {description} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - the output is what the module is run for
