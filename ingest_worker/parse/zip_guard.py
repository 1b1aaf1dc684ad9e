"""ZIP containers from strangers: what they unpack to is bounded before any of it is unpacked.

Office documents, EPUB and archives are ZIP files (PKWARE APPNOTE 6.3). Deflate turns 1 kB into 1 MB, so the
limit on a document's bytes says nothing of the memory that it takes. `zipfile` never yields more of a member
than the directory declares, so that the declared sizes may be trusted as upper bounds.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from ingest_worker.parse import faults

MAX_MEMBERS = 5_000
"""Members of one container: long books and decks have some hundreds."""
MAX_MEMBER_BYTES = 256 << 20
"""What one member may unpack to."""
MAX_TOTAL_BYTES = 1 << 30
"""What all members together may unpack to, the ones that are never read included."""
_ENTRY_SIGNATURE = b"PK\x01\x02"
_MAX_SIGNATURES = 20 * MAX_MEMBERS
"""Before the directory is read, since an entry of 46 bytes becomes an object of some 600. Containers that
are stored within this one count here, so it is more than the members that are allowed."""
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""The only ones that OPC, ODF and EPUB know, and the only ones that `zipfile` unpacks in bounded steps."""
_ENCRYPTED_FLAG = 0x1
_PIECE_BYTES = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, NotImplementedError, ValueError)


def open_guarded(data: bytes) -> zipfile.ZipFile:
    """Return the container in `data`, once its directory is known to be harmless. Reads no member.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) where it is no intact ZIP file or uses a compression other
    than deflate, and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where it has more than `MAX_MEMBERS` members,
    one of more than `MAX_MEMBER_BYTES`, or more than `MAX_TOTAL_BYTES` in all.
    """
    if data.count(_ENTRY_SIGNATURE) > _MAX_SIGNATURES:
        raise faults.too_many_members(MAX_MEMBERS)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGE as error:
        raise faults.corrupt("is a ZIP container that cannot be opened: truncated or damaged") from error
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise faults.too_many_members(MAX_MEMBERS)
    if any(member.compress_type not in _METHODS for member in members):
        raise faults.corrupt("is a ZIP container with a compression other than deflate; pack it again")
    if max((member.file_size for member in members), default=0) > MAX_MEMBER_BYTES:
        raise faults.unpacks_to_too_much(MAX_MEMBER_BYTES)
    if sum(member.file_size for member in members) > MAX_TOTAL_BYTES:
        raise faults.unpacks_to_too_much(MAX_TOTAL_BYTES)
    return archive


def read_member(archive: zipfile.ZipFile, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
    """Return the content of the member `name`, of at most `limit` bytes.

    Raises `InvalidArgument` with reason `DOCUMENT_CORRUPT` where there is no such member or it is damaged and
    `DOCUMENT_ENCRYPTED` where it needs a password, and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where it is
    longer, without having unpacked it.
    """
    try:
        member = archive.getinfo(name)
    except KeyError as error:
        raise faults.corrupt("lacks a part that its format requires: truncated or damaged") from error
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise faults.encrypted()
    if member.file_size > limit:
        raise faults.unpacks_to_too_much(limit)
    try:
        with archive.open(member) as stream:
            pieces = iter(lambda: stream.read(_PIECE_BYTES), b"")
            content = b"".join(pieces)
    except (*_DAMAGE, RuntimeError) as error:  # RuntimeError: strong encryption
        raise faults.corrupt("has a part that cannot be unpacked: truncated or damaged") from error
    if len(content) != member.file_size:
        raise faults.corrupt("has a part that is shorter than declared: truncated or damaged")
    return content
