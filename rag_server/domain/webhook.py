"""Webhooks: where the end of a job is told, and how far that is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to tell the end of a job."""

    url: str
    secret_name: str
    """Of the server's secrets; the secret itself is nowhere but in its settings."""


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """The report of one end of one job."""

    tenant_id: str
    id: str
    job_id: str
    job_sequence: int
    """The change that ended the job: a job that was revived since has later ones."""
    webhook: Webhook
    state: DeliveryState
    attempt_count: int
    http_status: int | None
    """Of the last answer; None: there was none."""
    reason: str
    """Why the last attempt failed; empty: none has."""
    next_attempt_time: datetime
    """While it is tried: when others may take it for given up by whoever tries."""
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt went."""

    http_status: int | None = None
    """None: there was no answer."""
    reason: str = ""
    """Why it failed; empty: it did not."""
    is_final: bool = True
    """Whether another attempt would be of no use."""
