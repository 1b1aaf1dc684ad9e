"""Why a document was not read: errors that cross from a parser process, and those that end one.

A parser's refusal (`RagError`) keeps its reason, message, metadata and fields. Memory that Python was refused
becomes `DOCUMENT_PARSER_OUT_OF_MEMORY`; any other exception `DOCUMENT_PARSER_CRASHED`, its place in the log.
"""

from __future__ import annotations

import json
import re
import traceback
from types import MappingProxyType
from typing import Any

from rag_server.errors import FieldViolation, Internal, InvalidArgument, RagError, ResourceExhausted

MAX_FAILURE_BYTES = 1 << 16
_MAX_MESSAGE = 2000
_MAX_ENTRIES = 20
_MAX_NAME = 100
REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DOCUMENT_ERRORS = MappingProxyType({kind.__name__: kind for kind in (InvalidArgument, ResourceExhausted)})
"""What may be said of a document: nothing that would have it tried again."""


class ParserFailed(Exception):
    """The code of a parser raised what it must not raise; `where` are type and places, for the log."""

    def __init__(self, where: list[str]) -> None:
        super().__init__("a parser failed")
        self.where = where


class ParserOutOfMemory(Exception):
    """A parser was refused memory."""


def timed_out(limit_s: float) -> ResourceExhausted:
    """Return the error for a document that takes too long."""
    return ResourceExhausted(
        "DOCUMENT_PARSER_TIMEOUT",
        f"reading the document took more than {limit_s:g} s; split it, or raise RAG_PARSER__WALL_S and "
        "RAG_PARSER__CPU_S",
        metadata={"limit_s": f"{limit_s:g}"},
    )


def out_of_memory(limit_bytes: int) -> ResourceExhausted:
    """Return the error for a document that takes too much memory."""
    return ResourceExhausted(
        "DOCUMENT_PARSER_OUT_OF_MEMORY",
        f"reading the document took more than {limit_bytes} bytes of memory; split it, or raise "
        "RAG_PARSER__MEMORY_BYTES",
        metadata={"limit_bytes": str(limit_bytes)},
    )


def too_much_output(limit_bytes: int) -> ResourceExhausted:
    """Return the error for a document that becomes too large when it is read."""
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document becomes more than {limit_bytes} bytes of text and structure; split it into several "
        "documents",
        metadata={"limit_bytes": str(limit_bytes)},
    )


def crashed() -> Internal:
    """Return the error for a document that makes its parser crash."""
    return Internal(
        "DOCUMENT_PARSER_CRASHED",
        "the parser crashed on this document: it may be damaged; save it anew with another program, or send "
        "it in another format",
    )


def encode_failure(error: BaseException) -> bytes:
    """Return what became of a document, in the child, as bytes."""
    said: dict[str, Any]
    if type(error).__name__ in _DOCUMENT_ERRORS and isinstance(error, RagError):
        said = {
            "kind": type(error).__name__,
            "reason": error.reason,
            "message": error.message[:_MAX_MESSAGE],
            "metadata": dict(list(error.metadata.items())[:_MAX_ENTRIES]),
            "violations": [[each.field, each.description] for each in error.violations[:_MAX_ENTRIES]],
        }
    elif isinstance(error, MemoryError):
        said = {"kind": "memory"}
    else:
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        said = {"kind": "crash", "where": [type(error).__qualname__, *places]}
    encoded = json.dumps(said).encode()
    return encoded if len(encoded) <= MAX_FAILURE_BYTES else b'{"kind": "crash", "where": []}'


def decode_failure(payload: bytes) -> Exception:
    """Return the error that a child reports: a `RagError`, `ParserOutOfMemory` or `ParserFailed`.

    Whatever the payload holds, names and texts are bounded and printable.
    """
    try:
        said = json.loads(payload)
        if said["kind"] == "memory":
            return ParserOutOfMemory()
        if said["kind"] == "crash":
            return ParserFailed([printable(place, 300) for place in said["where"][:_MAX_ENTRIES]])
        if not REASON.fullmatch(said["reason"]):
            return ParserFailed(["a reason that is none"])
        metadata = list(said["metadata"].items())[:_MAX_ENTRIES]
        return _DOCUMENT_ERRORS[said["kind"]](
            said["reason"],
            printable(said["message"], _MAX_MESSAGE),
            metadata={printable(name, _MAX_NAME): printable(value, _MAX_MESSAGE) for name, value in metadata},
            violations=[
                FieldViolation(printable(field, _MAX_NAME), printable(description, _MAX_MESSAGE))
                for field, description in said["violations"][:_MAX_ENTRIES]
            ],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return ParserFailed([f"malformed failure: {type(error).__name__}"])


def printable(text: object, limit: int) -> str:
    """Return the start of `text` without control characters. Raises `TypeError` unless it is one."""
    if not isinstance(text, str):
        raise TypeError
    return _UNPRINTABLE.sub(" ", text[:limit])
