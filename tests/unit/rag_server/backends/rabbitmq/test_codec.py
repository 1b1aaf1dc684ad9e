from __future__ import annotations

import pytest

from rag.internal.v1 import job_message_pb2 as pb
from rag_server.backends.protocols import JobMessage, ServerEvents
from rag_server.backends.rabbitmq.codec import (
    TooNew,
    Unreadable,
    decode_events,
    decode_job,
    encode_events,
    encode_job,
)
from rag_server.domain.change import CollectionChange
from rag_server.domain.priority import Priority

JOB = JobMessage("acme", "0123", Priority.BULK, "00-t-s-01")

# F14: what earlier releases have written, byte by byte. Add a line with each version; change none.
JOB_V1 = bytes.fromhex("0801120461636d651a043031323320012a0930302d742d732d303132060880f7c4d506")
EVENTS_V1 = bytes.fromhex("0801120a0a0461636d6512026a311a130a0461636d6512067061706572731a01752007")


def test_job_comes_back_as_it_was() -> None:
    assert decode_job(encode_job(JOB)) == JOB
    assert decode_job(encode_job(JobMessage("t", "j"))) == JobMessage("t", "j", Priority.INTERACTIVE, "")


def test_events_come_back_as_they_were() -> None:
    changes = [CollectionChange("t", "c", "u", 0), CollectionChange("t", "gone", "v", None)]
    events = ServerEvents([("t", "j"), ("t", "k")], changes)
    decoded = decode_events(encode_events(events))
    assert (list(decoded.jobs), list(decoded.collections)) == ([("t", "j"), ("t", "k")], changes)


def test_job_of_version_1_is_read() -> None:
    assert decode_job(JOB_V1) == JOB


def test_events_of_version_1_are_read() -> None:
    decoded = decode_events(EVENTS_V1)
    assert list(decoded.jobs) == [("acme", "j1")]
    assert list(decoded.collections) == [CollectionChange("acme", "papers", "u", 7)]


def test_job_with_a_field_of_a_later_release_is_read() -> None:
    assert decode_job(encode_job(JOB) + bytes.fromhex("a20603616263")) == JOB


def test_job_that_a_later_release_keeps_from_us_is_too_new() -> None:
    with pytest.raises(TooNew):
        decode_job(pb.JobMessage(version=99, tenant_id="t", job_id="j").SerializeToString())
    with pytest.raises(TooNew):
        decode_events(pb.ServerEvent(version=99).SerializeToString())


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff", b"{}", b"\x08\x01", bytes(100)])
def test_job_of_other_bytes_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_job(body)


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff"])
def test_events_of_other_bytes_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_events(body)
