from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.parse import compound_file
from ingest_worker.parse.compound_file import CompoundFile
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_compound import compound_file_of

STREAMS = {"Small": b"few bytes", "Large": bytes(range(256)) * 40, "Storage/Inner": b"deep", "Empty": b""}
SAMPLE = compound_file_of(STREAMS)


def test_compound_file_streams_are_read_by_their_paths_whatever_the_case() -> None:
    with CompoundFile(SAMPLE) as file:
        assert file.stream("small") == b"few bytes"
        assert file.stream("Large") == STREAMS["Large"]
        assert file.stream("Storage", "INNER") == b"deep"
        assert file.stream("Empty") == b""
        assert ("Storage", "Inner") in file.paths


@pytest.mark.parametrize("path", [("Other",), ("Storage",), ("Storage", "Other"), ("Small", "Inner")])
def test_compound_file_has_no_stream_of_another_name(path: tuple[str, ...]) -> None:
    with CompoundFile(SAMPLE) as file:
        assert file.stream(*path) is None


def entry(name: str) -> int:
    """Return where the directory of the sample has the entry of a stream."""
    return SAMPLE.index(name.encode("utf-16-le") + bytes(2))


def with_field(name: str, offset: int, value: int) -> bytes:
    data = bytearray(SAMPLE)
    struct.pack_into("<I", data, entry(name) + offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        with_field("Large", 120, 0x7FFF_FFFF),
        with_field("Large", 120, 0xFFFF_FFFF),
        with_field("Large", 116, 0x00FF_FFFF),
        SAMPLE[:1500],
    ],
    ids=["huge", "negative", "outside", "cut"],
)
def test_compound_file_damaged_stream_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught, CompoundFile(data) as file:
        file.stream("Large")
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_compound_file_chain_in_a_circle_reads_no_more_than_the_file_may_have() -> None:
    data = bytearray(with_field("Large", 120, len(SAMPLE)))
    (table,) = struct.unpack_from("<I", data, 76)
    (first,) = struct.unpack_from("<I", data, entry("Large") + 116)
    struct.pack_into("<I", data, 512 * (table + 1) + 4 * first, first)
    with CompoundFile(bytes(data)) as file:
        assert file.stream("Large") == STREAMS["Large"][:512] * (len(SAMPLE) // 512)
        file.stream("Large")
        with pytest.raises(InvalidArgument) as caught:
            file.stream("Large")
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_compound_file_of_too_many_streams_raises_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compound_file, "_MAX_ENTRIES", 4)
    with pytest.raises(ResourceExhausted) as caught:
        CompoundFile(SAMPLE)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(8, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_compound_file_mutated_never_raises_another_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes:
        data[place] = value
    try:
        with CompoundFile(bytes(data)) as file:
            read = sum(len(file.stream(*path) or b"") for path in file.paths)
        assert read <= 2 * len(data)
    except InvalidArgument as error:
        assert error.reason == "DOCUMENT_CORRUPT"  # noqa: PT017 - most changes do no harm
