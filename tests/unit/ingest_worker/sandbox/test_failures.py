from __future__ import annotations

import json
from typing import Any

import pytest

from ingest_worker.sandbox.failures import (
    MAX_FAILURE_BYTES,
    ParserFailed,
    ParserOutOfMemory,
    decode_failure,
    encode_failure,
)
from rag_server.errors import FieldViolation, InvalidArgument, ResourceExhausted, Unavailable

REFUSAL = {
    "kind": "InvalidArgument",
    "reason": "A_REASON",
    "message": "m",
    "metadata": {"a": "b"},
    "violations": [["f", "d"]],
}


@pytest.mark.parametrize("kind", [InvalidArgument, ResourceExhausted])
def test_refusal_crosses_whole(kind: type[InvalidArgument | ResourceExhausted]) -> None:
    error = kind("A_REASON", "what is wrong", metadata={"a": "b"}, violations=[FieldViolation("f", "d")])
    crossed = decode_failure(encode_failure(error))
    assert isinstance(crossed, kind)
    assert (crossed.reason, crossed.message, crossed.metadata) == ("A_REASON", "what is wrong", {"a": "b"})
    assert crossed.violations == (FieldViolation("f", "d"),)


def test_refusal_never_says_when_to_come_back() -> None:
    crossed = decode_failure(encode_failure(ResourceExhausted("A_REASON", "m", retry_after_s=1)))
    assert isinstance(crossed, ResourceExhausted)
    assert not crossed.is_retryable


def test_memory_error_crosses_as_such() -> None:
    assert isinstance(decode_failure(encode_failure(MemoryError())), ParserOutOfMemory)


@pytest.mark.parametrize(
    "error", [ValueError("a secret"), Unavailable("X", "a secret"), KeyError("a secret")]
)
def test_other_exception_crosses_without_its_text(error: Exception) -> None:
    encoded = encode_failure(error)
    assert b"secret" not in encoded
    crossed = decode_failure(encoded)
    assert isinstance(crossed, ParserFailed)
    assert crossed.where[0] == type(error).__qualname__


def test_refusal_that_is_too_long_stays_within_the_frame() -> None:
    error = InvalidArgument("A_REASON", "m" * 10**6, metadata={"k" * 10**6: "v" * 10**6})
    assert len(encode_failure(error)) <= MAX_FAILURE_BYTES


@pytest.mark.parametrize(
    "said",
    [
        {**REFUSAL, "kind": "Internal"},
        {**REFUSAL, "kind": "Unavailable"},
        {**REFUSAL, "kind": ["InvalidArgument"]},
        {**REFUSAL, "reason": "no reason"},
        {**REFUSAL, "reason": "R" * 100},
        {**REFUSAL, "message": 5},
        {**REFUSAL, "metadata": {"a": 5}},
        {**REFUSAL, "metadata": []},
        {**REFUSAL, "violations": [["f"]]},
        {**REFUSAL, "violations": 5},
        {"kind": "crash"},
        {"kind": "crash", "where": 5},
        {"kind": "crash", "where": [5]},
        [],
        5,
    ],
)
def test_forged_failure_is_a_crash(said: Any) -> None:
    assert isinstance(decode_failure(json.dumps(said).encode()), ParserFailed)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 60_000, b"{"])
def test_failure_that_is_no_json_is_a_crash(payload: bytes) -> None:
    assert isinstance(decode_failure(payload), ParserFailed)


def test_forged_texts_are_bounded_and_printable() -> None:
    crossed = decode_failure(json.dumps({**REFUSAL, "message": "\x1b[31m" + "m" * 50_000}).encode())
    assert isinstance(crossed, InvalidArgument)
    assert len(crossed.message) <= 2000
    assert crossed.message.isprintable()
    places = decode_failure(json.dumps({"kind": "crash", "where": ["x\n" * 500] * 500}).encode())
    assert isinstance(places, ParserFailed)
    assert len(places.where) <= 20
    assert all(len(place) <= 300 and "\n" not in place for place in places.where)
