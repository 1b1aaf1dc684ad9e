"""Settings of the way of a document: acceptance, queue, workers, webhooks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from rag_server.config.group import MEBIBYTE, Group
from rag_server.domain.archive import MAX_ENTRIES, MAX_UNPACKED_BYTES
from rag_server.domain.revision import KEPT_REVISIONS

MIN_SECRET_CHARACTERS = 16
SECRET_NAME_PATTERN = "^[A-Za-z0-9_-]{1,64}$"  # noqa: S105 - a pattern


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
    embedding_batch_chunks: Annotated[int, Field(ge=1, le=1024)] = 16
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


class WebhookSettings(Group):
    """Webhooks: the ends of jobs, told to callers' own servers. The servers send them, not the workers."""

    secrets: dict[Annotated[str, Field(pattern=SECRET_NAME_PATTERN)], SecretStr] = {}  # noqa: RUF012 - pydantic copies it
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
