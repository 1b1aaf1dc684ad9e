from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.parse import limits
from ingest_worker.parse.rtf_compressed import decompress_rtf
from rag_server.errors import InvalidArgument, ResourceExhausted

SPECIFIED = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)
"""The example of [MS-OXRTFCP] 4.1."""
SPECIFIED_CROSSING = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")
"""The example of [MS-OXRTFCP] 4.2: a reference that reads what it writes."""
PLAIN = struct.pack("<4I", 0, 5, 0x414C454D, 0)


def test_compressed_rtf_is_as_in_the_specification() -> None:
    assert decompress_rtf(SPECIFIED) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert decompress_rtf(SPECIFIED_CROSSING) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"


def test_compressed_rtf_that_is_not_compressed_is_returned() -> None:
    assert decompress_rtf(PLAIN + b"{\\rtf and more") == b"{\\rtf"


@pytest.mark.parametrize(
    "data", [b"", SPECIFIED[:15], SPECIFIED[:8] + b"NONE" + SPECIFIED[12:], SPECIFIED[:18]]
)
def test_compressed_rtf_damaged_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decompress_rtf(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_compressed_rtf_too_long_raises_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 5)
    with pytest.raises(ResourceExhausted) as caught:
        decompress_rtf(SPECIFIED)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


@given(body=st.binary(max_size=400), size=st.integers(0, 5_000))
def test_compressed_rtf_of_any_bytes_keeps_its_size(body: bytes, size: int) -> None:
    data = struct.pack("<4I", len(body), size, 0x75465A4C, 0) + body
    try:
        assert len(decompress_rtf(data)) <= size
    except InvalidArgument as error:
        assert error.reason == "DOCUMENT_CORRUPT"  # noqa: PT017 - most bodies end in the middle of nothing
