"""Compound files (OLE2): the binary formats of old Office versions, and the shell of encrypted documents.

[MS-CFB] for the container, [MS-OFFCRYPTO] 2.3.4 for the stream `EncryptedPackage`.
"""

from __future__ import annotations

import io

import olefile

from ingest_worker.parse import faults
from ingest_worker.parse.compound_file import DAMAGE
from rag_server.domain.document import MediaType

_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "encryptedpackage"
_BY_STREAM: tuple[tuple[str, MediaType | str], ...] = (
    ("worddocument", MediaType.DOC),
    ("powerpoint document", "application/vnd.ms-powerpoint"),
    ("__properties_version1.0", MediaType.MSG),
    ("visiodocument", "application/vnd.visio"),
    ("workbook", MediaType.XLS),
    ("book", MediaType.XLS),
)
"""What the stream of a format's main content is called, in lower case as names are compared."""
_MAIN_STREAMS = tuple(
    name.encode("utf-16-le") for name in ("WordDocument", "__properties_version1.0", "Workbook")
)
"""Names of the formats that are read, as the directory of a damaged file still has them."""
_OTHER = "application/x-ole-storage"


def is_compound(data: bytes) -> bool:
    """Whether `data` begins as a compound file."""
    return data.startswith(_SIGNATURE)


def compound_type(data: bytes, *, is_claimed: bool) -> MediaType | str:
    """Return the format of the compound file `data`, or the media type of another kind.

    Args:
        data: What `is_compound` holds for.
        is_claimed: Whether it is said to be a document of one of these formats.

    Raises `InvalidArgument`: `DOCUMENT_ENCRYPTED` for the shell of an Office document with a password, and
    `DOCUMENT_CORRUPT` for a document whose container cannot be read.
    """
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as file:
            names = {entry[0].lower() for entry in file.listdir(streams=True, storages=False)}
    except DAMAGE as error:
        if is_claimed or any(name in data for name in _MAIN_STREAMS):
            raise faults.corrupt(
                "is a compound file (OLE2) that cannot be opened: truncated or damaged"
            ) from error
        return _OTHER
    if _ENCRYPTED_PACKAGE in names:
        raise faults.encrypted()
    return next((media_type for name, media_type in _BY_STREAM if name in names), _OTHER)
