"""Documents that are ZIP archives: Office Open XML, OpenDocument and EPUB, by their members.

ECMA-376 part 2 (`[Content_Types].xml`), OpenDocument 1.3 part 2, 3.3, and EPUB OCF 3.3, 4.3 (`mimetype`).
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from types import MappingProxyType

from ingest_worker.parse import faults
from rag_server.domain.document import MediaType

ZIP = "application/zip"
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
_ENTRY = b"PK\x01\x02"
_MAX_ENTRIES = 10_000
"""Of the archive's directory, which is read before anything is known of the archive."""
_MAX_MEMBER_BYTES = 1 << 20
_CONTENT_TYPES = "[Content_Types].xml"
_MIMETYPE = "mimetype"
_IS_ENCRYPTED = 0x1
_MAIN_PART = re.compile(
    r"""\bContentType\s*=\s*["'](application/[\w.+-]{1,120}?)\.main\+xml["']""", re.IGNORECASE
)
_BY_MAIN_PART = MappingProxyType(
    {
        f"application/vnd.openxmlformats-officedocument.{name}": media_type
        for name, media_type in (
            ("wordprocessingml.document", MediaType.DOCX),
            ("spreadsheetml.sheet", MediaType.XLSX),
            ("presentationml.presentation", MediaType.PPTX),
            ("presentationml.slideshow", MediaType.PPTX),
        )
    }
)
_BY_MIMETYPE = MappingProxyType({MediaType.ODT.value: MediaType.ODT, MediaType.EPUB.value: MediaType.EPUB})
_BY_MEMBER = MappingProxyType(
    {
        "word/document.xml": MediaType.DOCX,
        "xl/workbook.xml": MediaType.XLSX,
        "ppt/presentation.xml": MediaType.PPTX,
        "META-INF/container.xml": MediaType.EPUB,
        "xl/workbook.bin": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
        "visio/document.xml": "application/vnd.ms-visio.drawing",
        "META-INF/MANIFEST.MF": "application/java-archive",
    }
)
_FIRST_MEMBERS = (_CONTENT_TYPES.encode(), _MIMETYPE.encode(), b"_rels/.rels")
"""What the archive of a document begins with, mostly."""


def is_archive(data: bytes) -> bool:
    """Whether `data` begins as a ZIP archive."""
    return data.startswith(_SIGNATURES)


def archive_type(data: bytes, *, is_claimed: bool) -> MediaType | str:
    """Return the format of the document that the archive `data` is, or the media type of another kind.

    Args:
        data: What `is_archive` holds for.
        is_claimed: Whether it is said to be a document of one of these formats.

    Raises `InvalidArgument`: `DOCUMENT_CORRUPT` for a document whose archive cannot be read, and
    `DOCUMENT_ENCRYPTED`.
    """
    if data.count(_ENTRY) > _MAX_ENTRIES:
        return ZIP
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _type_of(archive)
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, OSError, EOFError) as error:
        # A local header is 30 bytes, then comes the member's name (APPNOTE.TXT 4.3.7).
        if is_claimed or data[30:].startswith(_FIRST_MEMBERS):
            raise faults.corrupt("is an archive that cannot be opened: truncated or damaged") from error
        return ZIP


def _type_of(archive: zipfile.ZipFile) -> MediaType | str:
    members = {member.filename: member for member in archive.infolist()}
    for name in (_MIMETYPE, _CONTENT_TYPES):
        if name in members and members[name].flag_bits & _IS_ENCRYPTED:
            raise faults.encrypted()
    if _MIMETYPE in members:
        said = _read(archive, members[_MIMETYPE]).strip()
        if re.fullmatch(r"[\w./+-]{1,100}", said):
            return _BY_MIMETYPE.get(said, said)
    if _CONTENT_TYPES in members:
        for main_part in _MAIN_PART.findall(_read(archive, members[_CONTENT_TYPES])):
            return _BY_MAIN_PART.get(main_part, str(main_part).lower())
    return next((kind for name, kind in _BY_MEMBER.items() if name in members), ZIP)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """Return the start of a member, whatever size it claims to have."""
    with archive.open(member) as file:
        return file.read(_MAX_MEMBER_BYTES).decode("utf-8", "replace")
