from __future__ import annotations

from rag.v1 import generate_service_pb2 as pb
from rag_server.services.answer_log import AnswerLog


def delta(text: str) -> pb.StreamGenerateResponse:
    return pb.StreamGenerateResponse(delta=pb.AnswerDelta(text=text))


def made(*texts: str, limit_bytes: int = 10_000) -> AnswerLog:
    log = AnswerLog("id", limit_bytes)
    for text in texts:
        log.add(delta(text))
    return log


def read(log: AnswerLog, number: int = 0) -> list[pb.StreamGenerateResponse]:
    events = []
    while found := log.after(number):
        number, event = found
        events.append(event)
    return events


def test_events_are_numbered_from_one_in_their_cursors() -> None:
    assert [event.cursor for event in read(made("a", "b", "c"))] == ["id.1", "id.2", "id.3"]


def test_log_goes_on_after_any_number() -> None:
    log = made("a", "b", "c")
    assert [event.delta.text for event in read(log, 1)] == ["b", "c"]
    assert log.after(3) is None
    assert AnswerLog("id", 10).after(0) is None


def test_log_keeps_the_latest_events_within_its_bytes() -> None:
    log = made(*["word "] * 50, limit_bytes=200)
    assert log.is_full
    log.trim(read=None)
    size = sum(event.ByteSize() for event in read(log, log.first - 1))
    assert 150 < size <= 200
    assert (log.last, log.first > 25) == (50, True)


def test_events_that_went_are_a_gap_that_says_how_much() -> None:
    log = made(*["ñandú "] * 50, limit_bytes=200)
    log.trim(read=None)
    gap, *others = read(log, 7)
    assert gap.gap == pb.GenerationGap(event_count=log.first - 8, answer_offset=6 * (log.first - 1))
    assert others == read(log, log.first - 1)
    assert gap.cursor == f"id.{log.first - 1}"
    assert read(log, log.first - 1)[0].WhichOneof("event") == "delta"


def test_events_that_were_not_read_stay() -> None:
    log = made(*["word "] * 50, limit_bytes=200)
    log.trim(read=10)
    assert log.first == 11
    log.trim(read=9)
    assert log.first == 11


def test_latest_event_stays_however_large_it_is() -> None:
    for read_number in (None, 2):
        log = made("a", "b" * 1000, limit_bytes=100)
        log.trim(read=read_number)
        assert [event.delta.text for event in read(log, 1)] == ["b" * 1000]
