from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.openai.event_stream import EventStream, EventTooLarge
from tests.unit.rag_server.generation.splitting import CUTS, pieces

STREAM = (
    ': awake\r\ndata: {"a": 1}\r\n\r\nevent: x\nid: 7\ndata:b\ndata: ñ\n\n\n\nretry: 5\n\ndata: [DONE]\n\n'
)


@given(CUTS)
def test_events_come_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    stream = EventStream()
    found = [data.decode() for piece in pieces(STREAM, cuts) for data in stream.feed(piece.encode())]
    assert found == ['{"a": 1}', "b\nñ", "[DONE]"]


@given(st.binary(max_size=200), CUTS)
def test_any_bytes_are_read_without_an_error(data: bytes, cuts: list[int]) -> None:
    whole = EventStream().feed(data)
    stream = EventStream()
    text = data.decode("latin-1")
    assert [each for piece in pieces(text, cuts) for each in stream.feed(piece.encode("latin-1"))] == whole


@pytest.mark.parametrize("line", [b"x" * 11, b"data: " + b"x" * 11 + b"\n", b"data: xxxxxx\n" * 3])
def test_event_without_an_end_in_sight_is_too_large(line: bytes) -> None:
    with pytest.raises(EventTooLarge):
        EventStream(max_event_bytes=10).feed(line)
