"""Every error that the service raises on purpose, and nothing about transport.

    RagError                     a reason, a message for the caller, metadata
    ├── InvalidArgument          the request is wrong; names the fields
    ├── NotFound                 absent, or another tenant's: the caller cannot tell which
    ├── AlreadyExists
    ├── FailedPrecondition       right request, wrong state
    ├── Aborted                  another call was in the way
    ├── ResourceExhausted        a limit; may say when to come back
    ├── Unavailable              a part is down; says when to come back
    ├── DeadlineExceeded
    └── Internal                 our fault; the text stays in the log

An error knows its own status: `status` is the canonical gRPC code's name, `reason` a value of the
contract's `ErrorReason` without its prefix. `rag_server.interceptors.errors` turns both into
`google.rpc.Status`; a job stores the same reason. Messages are written for the caller: they hold
no secret, no path of the server and no text of a foreign exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request and what is wrong with it."""

    field: str
    """Path as in the proto, e.g. `filter.must[2].comparison.field`."""
    description: str


class RagError(Exception):
    """Root of the tree. Raise a subclass."""

    status: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later as it is: such an error says when to come back."""
        return self.retry_after_s is not None


class InvalidArgument(RagError):
    """The request can never succeed as it is."""

    status = "INVALID_ARGUMENT"

    @classmethod
    def for_field(cls, field: str, description: str, *, reason: str = "INVALID_REQUEST") -> InvalidArgument:
        """Return the error for one wrong field."""
        return cls(reason, f"{field}: {description}", violations=[FieldViolation(field, description)])


class NotFound(RagError):
    """The resource does not exist for this tenant."""

    status = "NOT_FOUND"

    @classmethod
    def for_resource(cls, kind: str, resource_id: str) -> NotFound:
        """Return the error for a missing `kind` (`collection`, `document`, `job`...)."""
        return cls(
            f"{kind.upper()}_NOT_FOUND",
            f"no {kind.replace('_', ' ')} {resource_id!r}",
            metadata={"resource": kind, "id": resource_id},
        )

    def in_field(self, field: str) -> NotFound:
        """Return this error as that of the field which names the resource."""
        return NotFound(
            self.reason,
            f"{field}: {self.message}",
            metadata=self.metadata,
            violations=[FieldViolation(field, self.message)],
        )


class AlreadyExists(RagError):
    """The name or request id is taken."""

    status = "ALREADY_EXISTS"


class FailedPrecondition(RagError):
    """The state of the resource does not allow the call."""

    status = "FAILED_PRECONDITION"


class Aborted(RagError):
    """Another call was in the way, and this one is not to be repeated as it is."""

    status = "ABORTED"


class ResourceExhausted(RagError):
    """A limit was reached."""

    status = "RESOURCE_EXHAUSTED"


class Unavailable(RagError):
    """A part of the service cannot be reached now."""

    status = "UNAVAILABLE"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(reason, message, metadata=metadata, retry_after_s=retry_after_s)


class DeadlineExceeded(RagError):
    """The time the caller gave, or the server's default, is over."""

    status = "DEADLINE_EXCEEDED"


class Internal(RagError):
    """An invariant of ours broke."""

    status = "INTERNAL"
