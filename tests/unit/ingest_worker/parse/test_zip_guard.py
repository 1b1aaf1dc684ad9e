from __future__ import annotations

import io
import struct
import zipfile

import pytest

from ingest_worker.parse import zip_guard
from ingest_worker.parse.zip_guard import open_guarded, read_member
from rag_server.errors import InvalidArgument, ResourceExhausted


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def reason_of(caught: pytest.ExceptionInfo[InvalidArgument | ResourceExhausted]) -> str:
    return caught.value.reason


def test_read_member_returns_its_content() -> None:
    archive = open_guarded(zipped({"a.xml": b"<a/>", "b.bin": bytes(3_000_000)}))
    assert read_member(archive, "a.xml", 4) == b"<a/>"
    assert read_member(archive, "b.bin") == bytes(3_000_000)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"no archive", zipped({"a": b"x" * 99})[:-30]],
    ids=["empty", "beginning", "something else", "truncated"],
)
def test_open_guarded_damaged_container_raises_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_guarded(data)
    assert reason_of(caught) == "DOCUMENT_CORRUPT"


def test_open_guarded_bomb_is_refused_by_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{number}": bytes(1000) for number in range(4)})
    monkeypatch.setattr(zip_guard, "MAX_TOTAL_BYTES", 3_999)
    with pytest.raises(ResourceExhausted) as caught:
        open_guarded(data)
    assert reason_of(caught) == "DOCUMENT_TOO_LARGE"
    monkeypatch.setattr(zip_guard, "MAX_TOTAL_BYTES", 4_000)
    assert len(open_guarded(data).namelist()) == 4
    monkeypatch.setattr(zip_guard, "MAX_MEMBER_BYTES", 999)
    with pytest.raises(ResourceExhausted):
        open_guarded(data)


def test_open_guarded_too_many_members_raises_before_and_after_reading_the_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = zipped({str(number): b"" for number in range(30)})
    monkeypatch.setattr(zip_guard, "MAX_MEMBERS", 29)
    with pytest.raises(ResourceExhausted, match="29 files"):
        open_guarded(data)
    monkeypatch.setattr(zip_guard, "_MAX_SIGNATURES", 29)
    monkeypatch.setattr(zip_guard.zipfile, "ZipFile", None)  # not reached
    with pytest.raises(ResourceExhausted, match="29 files"):
        open_guarded(data)


def test_open_guarded_other_compression_raises_corrupt() -> None:
    with pytest.raises(InvalidArgument, match="deflate"):
        open_guarded(zipped({"a": b"x"}, zipfile.ZIP_BZIP2))


def test_read_member_missing_raises_corrupt() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_member(open_guarded(zipped({"a": b"x"})), "b")
    assert reason_of(caught) == "DOCUMENT_CORRUPT"


def test_read_member_over_the_limit_raises_too_large() -> None:
    with pytest.raises(ResourceExhausted) as caught:
        read_member(open_guarded(zipped({"a": b"xx"})), "a", 1)
    assert reason_of(caught) == "DOCUMENT_TOO_LARGE"


def test_read_member_damaged_raises_corrupt() -> None:
    data = bytearray(zipped({"a": b"some text"}, zipfile.ZIP_STORED))
    data[data.index(b"some")] ^= 1
    with pytest.raises(InvalidArgument) as caught:
        read_member(open_guarded(bytes(data)), "a")
    assert reason_of(caught) == "DOCUMENT_CORRUPT"


def test_read_member_longer_than_declared_yields_no_more_than_declared() -> None:
    """A directory that lies about the size is found out, and costs no more memory than it declares."""
    data = bytearray(zipped({"a": bytes(5_000_000)}))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)
    with pytest.raises(InvalidArgument) as caught:
        read_member(open_guarded(bytes(data)), "a")
    assert reason_of(caught) == "DOCUMENT_CORRUPT"


def test_read_member_encrypted_raises_encrypted() -> None:
    data = bytearray(zipped({"a": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(InvalidArgument) as caught:
        read_member(open_guarded(bytes(data)), "a")
    assert reason_of(caught) == "DOCUMENT_ENCRYPTED"
