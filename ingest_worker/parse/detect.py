"""The format of a document: from its content first, then held against what the caller says."""

from __future__ import annotations

from ingest_worker.parse import faults
from ingest_worker.parse.sniff.archives import archive_type, is_archive
from ingest_worker.parse.sniff.binary import is_pdf, is_rtf, signature_of, text_sample
from ingest_worker.parse.sniff.compound import compound_type, is_compound
from ingest_worker.parse.sniff.text import textual_type
from rag_server.domain.document import MediaType
from rag_server.domain.media_type_names import NO_CLAIM, essence, media_type_named, media_type_of_file

_ARCHIVES = frozenset({MediaType.DOCX, MediaType.PPTX, MediaType.XLSX, MediaType.ODT, MediaType.EPUB})
_COMPOUND = frozenset({MediaType.DOC, MediaType.XLS, MediaType.MSG})
_DELIMITED = frozenset({MediaType.CSV, MediaType.TSV})
_BINARY = _ARCHIVES | _COMPOUND | {MediaType.PDF, MediaType.RTF}
"""Formats that their content gives away; it is a mismatch where it does not."""


def detect_media_type(data: bytes, declared: str = "", file_name: str = "") -> MediaType:
    """Return the format of `data`.

    Args:
        data: The whole document.
        declared: The media type that came with it, parameters allowed; empty where none did.
        file_name: Its name; a claim only where `declared` makes none, or declares a CSV as a file of Excel.

    PDF, RTF, the documents that are ZIP archives or compound files, and pages of HTML are known by their
    content. Among the other textual formats, which no signature parts, the claim decides; a claim of HTML for
    text without any markup yields plain text.

    Raises:
        InvalidArgument: `DOCUMENT_EMPTY`; `UNSUPPORTED_MEDIA_TYPE` for a declaration or content outside the
            supported formats; `MEDIA_TYPE_MISMATCH` where a supported claim and the content disagree;
            `DOCUMENT_CORRUPT` and `DOCUMENT_ENCRYPTED` for a container that cannot be looked into.
    """
    if not data or data.isspace():
        raise faults.empty()
    claim, claimed_by = _claim(declared, file_name)
    found = _binary_type(data, claim)
    if found is None:
        sample = text_sample(data)
        if sample is not None and claim not in _BINARY:
            return textual_type(data, sample, claim)
        found = signature_of(data) if sample is None else textual_type(data, sample, None)
    if claim is not None and claim != found:
        raise faults.mismatch(claim, found, claimed_by)
    if not isinstance(found, MediaType):
        raise faults.unsupported(found)
    return found


def _claim(declared: str, file_name: str) -> tuple[MediaType | None, str]:
    """Return what the caller says the format is, and where it says so."""
    named = essence(declared)
    by_name = media_type_of_file(file_name)
    claim = media_type_named(named)
    # browsers on Windows declare a file of comma-separated values by the program that opens it
    is_of_excel = claim is MediaType.XLS and by_name in _DELIMITED
    if named in NO_CLAIM or is_of_excel:
        return by_name, "file name"
    if claim is None:
        raise faults.unsupported(f"declared as {named[:100]}")
    return claim, "declared media type"


def _binary_type(data: bytes, claim: MediaType | None) -> MediaType | str | None:
    """Return the format, or the media type or name of another, that content alone tells; else None."""
    if is_pdf(data):
        return MediaType.PDF
    if is_rtf(data):
        return MediaType.RTF
    if is_archive(data):
        return archive_type(data, is_claimed=claim in _ARCHIVES)
    return compound_type(data, is_claimed=claim in _COMPOUND) if is_compound(data) else None
