"""Which request a resumed one repeats, and what cursors say."""

from __future__ import annotations

import hashlib
import secrets

from rag.v1 import generate_service_pb2 as pb
from rag_server.errors import InvalidArgument

_SEPARATOR = "."
_MAX_DIGITS = 10


def without_resumption(request: pb.StreamGenerateRequest) -> pb.StreamGenerateRequest:
    """Return the question alone."""
    question = pb.StreamGenerateRequest()
    question.CopyFrom(request)
    question.ClearField("resume_window_ms")
    question.ClearField("resume_cursor")
    return question


def digest_of(request: pb.StreamGenerateRequest) -> bytes:
    """Return what is the same for a request and for the one that resumes its answer, and for no other."""
    question = without_resumption(request)
    return hashlib.sha256(question.SerializeToString(deterministic=True)).digest()


def new_server_id() -> str:
    """Return what the ids of one server's answers begin with, as long as it runs."""
    return secrets.token_urlsafe(6)


def new_answer_id(server_id: str) -> str:
    """Return an id that nobody can guess, and that says which server has the answer."""
    return f"{server_id}{_SEPARATOR}{secrets.token_urlsafe(16)}"


def server_of(answer_id: str) -> str:
    """Return which server has the answer; empty: the id does not say."""
    return answer_id.rpartition(_SEPARATOR)[0]


def to_cursor(answer_id: str, number: int) -> str:
    """Return the cursor of an answer's event; `number` counts from 1."""
    return f"{answer_id}{_SEPARATOR}{number}"


def from_cursor(cursor: str) -> tuple[str, int]:
    """Return the answer's id and the number of the event. Raises `InvalidArgument`."""
    answer_id, _, number = cursor.rpartition(_SEPARATOR)
    if not answer_id or not number.isascii() or not number.isdecimal() or len(number) > _MAX_DIGITS:
        raise invalid_cursor()
    return answer_id, int(number)


def invalid_cursor() -> InvalidArgument:
    """Return the error for a cursor that was not sent for this request."""
    return InvalidArgument.for_field(
        "resume_cursor",
        "is not a cursor of an answer to this request: ask without one",
        reason="INVALID_RESUME_CURSOR",
    )
