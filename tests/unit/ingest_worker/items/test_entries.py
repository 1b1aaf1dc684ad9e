from __future__ import annotations

import io
import zipfile

import pytest

from ingest_worker.items.entries import MAX_RATIO, Archive
from rag_server.domain.archive import ArchiveBudget
from rag_server.errors import InvalidArgument, RagError, ResourceExhausted

FIFO, LINK = 0o010644 << 16, 0o120777 << 16


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode
            archive.writestr(info, content, method)
    return buffer.getvalue()


def opened(data: bytes, **budget: int) -> Archive:
    return Archive.open(data, ArchiveBudget(**budget))


def test_entries_are_files_with_their_content() -> None:
    archive = opened(zipped(("a/", b""), ("a/b.txt", b"words"), ("c.md", b"")))
    assert [(entry.name, entry.fault, entry.is_junk) for entry in archive.entries] == [
        ("a/b.txt", None, False),
        ("c.md", None, False),
    ]
    assert [b"".join(archive.unpack(entry)) for entry in archive.entries] == [b"words", b""]


def test_entry_is_unpacked_in_small_pieces() -> None:
    content = bytes(range(256)) * 4096
    archive = opened(zipped(("a.bin", content), method=zipfile.ZIP_STORED))
    pieces = list(archive.unpack(archive.entries[0]))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1 << 18


def test_last_of_several_files_of_one_name_counts() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("a.txt", b"first"), ("a.txt", b"last"))
    archive = opened(data)
    (entry,) = archive.entries
    assert b"".join(archive.unpack(entry)) == b"last"


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/a", "C:\\a", "c:a", "..\\a", "\\\\host\\share", "a/.."]
)
def test_name_that_leads_out_is_a_fault(name: str) -> None:
    (entry,) = opened(zipped((name, b"x"))).entries
    assert isinstance(entry.fault, InvalidArgument)
    assert entry.fault.reason == "ARCHIVE_ENTRY_UNSAFE"


@pytest.mark.parametrize("name", ["a..b", "..a/b", "a/b...", "a b/ü.txt", "ab:c.txt"])
def test_name_that_only_looks_odd_is_none(name: str) -> None:
    (entry,) = opened(zipped((name, b"x"))).entries
    assert entry.fault is None
    assert entry.name == name


@pytest.mark.parametrize("mode", [LINK, FIFO])
def test_link_or_device_is_a_fault(mode: int) -> None:
    (entry,) = opened(zipped(("a", b"/etc/passwd"), mode=mode)).entries
    assert entry.fault is not None
    assert entry.fault.reason == "ARCHIVE_ENTRY_UNSAFE"


def test_name_is_shown_without_control_characters() -> None:
    (entry,) = opened(zipped(("a\n\x1b[31m.txt", b"x"))).entries
    assert entry.name == "a??[31m.txt"


@pytest.mark.parametrize("name", ["__MACOSX/._a.txt", "x/.DS_Store", "Thumbs.db", "y/desktop.ini"])
def test_what_systems_put_into_archives_is_junk(name: str) -> None:
    (entry,) = opened(zipped((name, b"x"))).entries
    assert entry.is_junk


@pytest.mark.parametrize(
    ("content", "is_bomb"),
    [(b"\0" * (4 << 20), True), (b"\0" * (1 << 20), False), (b"\0" * ((1 << 20) + 1), True)],
)
def test_entry_that_unpacks_to_far_more_than_it_takes_is_a_bomb(content: bytes, is_bomb: bool) -> None:
    (entry,) = opened(zipped(("a.txt", content))).entries
    assert (entry.fault is not None) is is_bomb
    if entry.fault is not None:
        assert entry.fault.reason == "ARCHIVE_ENTRY_BOMB"
        assert entry.fault.metadata == {"limit_ratio": str(MAX_RATIO)}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_entry_of_another_compression_is_a_fault(method: int) -> None:
    (entry,) = opened(zipped(("a.txt", b"words" * 99), method=method)).entries
    assert entry.fault is not None
    assert entry.fault.reason == "DOCUMENT_CORRUPT"


def encrypted(data: bytes) -> bytes:
    """Return an archive whose first entry says that it needs a password, in both of its headers."""
    local, central = data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8
    changed = bytearray(data)
    changed[local] |= 1
    changed[central] |= 1
    return bytes(changed)


def test_one_file_with_a_password_is_its_own_fault_and_all_of_them_the_archives() -> None:
    mixed = opened(encrypted(zipped(("a.txt", b"x"), ("b.txt", b"y"))))
    assert [each.fault.reason if each.fault else "" for each in mixed.entries] == ["DOCUMENT_ENCRYPTED", ""]
    with pytest.raises(InvalidArgument) as raised:
        opened(encrypted(zipped(("a.txt", b"x"))))
    assert raised.value.reason == "DOCUMENT_ENCRYPTED"


def test_damaged_content_is_found_when_it_is_unpacked() -> None:
    data = bytearray(zipped(("a.txt", b"words and words"), method=zipfile.ZIP_STORED))
    data[data.index(b"words")] ^= 0xFF
    archive = opened(bytes(data))
    with pytest.raises(InvalidArgument) as raised:
        list(archive.unpack(archive.entries[0]))
    assert raised.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize(
    ("data", "budget", "reason", "kind"),
    [
        (b"PK\x03\x04 and nothing", {}, "DOCUMENT_CORRUPT", InvalidArgument),
        (zipped(("a.txt", b"words"))[:-10], {}, "DOCUMENT_CORRUPT", InvalidArgument),
        (zipped(), {}, "DOCUMENT_EMPTY", InvalidArgument),
        (zipped(("a/", b"")), {}, "DOCUMENT_EMPTY", InvalidArgument),
        (
            zipped(("a", b"x"), ("b", b"y"), ("c", b"z")),
            {"max_entries": 2},
            "ARCHIVE_TOO_LARGE",
            ResourceExhausted,
        ),
        (
            zipped(("a", b"x" * 60), ("b", b"y" * 60)),
            {"max_bytes": 100},
            "ARCHIVE_TOO_LARGE",
            ResourceExhausted,
        ),
        (b"PK\x03\x04" + b"PK\x01\x02" * 2000, {"max_entries": 5}, "ARCHIVE_TOO_LARGE", ResourceExhausted),
    ],
)
def test_archive_that_is_of_no_use_is_refused(
    data: bytes, budget: dict[str, int], reason: str, kind: type[RagError]
) -> None:
    with pytest.raises(kind) as raised:
        opened(data, **budget)
    assert raised.value.reason == reason


def test_shares_of_archives_within_stay_within_the_budget() -> None:
    budget = ArchiveBudget(max_entries=100, max_bytes=1000)
    share = budget.share(entries=10, unpacked_bytes=400, archives=4)
    assert (share.depth, share.max_entries, share.max_bytes) == (2, 22, 150)
    assert budget.share(entries=200, unpacked_bytes=2000, archives=0) == ArchiveBudget(2, 0, 0)
