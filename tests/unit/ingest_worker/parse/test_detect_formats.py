"""Detection of the formats beside text, Markdown, HTML and PDF (see `test_detect`)."""

from __future__ import annotations

import json
from email.message import EmailMessage

import pytest

from ingest_worker.parse import detect_media_type
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument
from tests.documents import HTML, PNG, archive, compound_file, office_shell, pdf

OOXML = "application/vnd.openxmlformats-officedocument"
DOCX = office_shell("word/document.xml", f"{OOXML}.wordprocessingml.document")
XLSX = office_shell("xl/workbook.xml", f"{OOXML}.spreadsheetml.sheet")
PPTX = office_shell("ppt/presentation.xml", f"{OOXML}.presentationml.presentation")
ODT = archive({"mimetype": MediaType.ODT.value, "content.xml": "<x/>"})
EPUB = archive({"mimetype": MediaType.EPUB.value, "META-INF/container.xml": "<x/>"})
RTF = b"{\\rtf1\\ansi words}"
NOTEBOOK = json.dumps({"cells": [{"cell_type": "markdown", "source": ["# A"]}], "nbformat": 4}).encode()
JSONL = b'{"a": 1}\n{"a": 2, "b": [1, "x"]}\n'
XML = b'<?xml version="1.0"?>\n<!-- c -->\n<catalog><book id="1"/></catalog>'
RST = b"Title\n=====\n\n.. note::\n\n   Bees fly.\n"
ORG = b"#+TITLE: Bees\n\n* Hive\n\nOne queen.\n"
CSV = b"name,price\nlaptop,500\nphone,300\n"


def message() -> bytes:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = "Bees", "a@example.org", "b@example.org"
    made.set_content("# A heading in a mail\n\nSome words.")
    made.add_alternative("<html><body><p>Some words.</p></body></html>", subtype="html")
    return made.as_bytes()


def received() -> bytes:
    head = b"Return-Path: <a@example.org>\r\nReceived: from a\r\n\tby b; now\r\nFrom: a@example.org\r\n"
    return head + b"\r\nWords.\r\n"


def cut_compound_file(stream: str) -> bytes:
    """Return one whose table of sectors leads out of it, with the names of its streams."""
    whole = compound_file(stream)
    return whole[:44] + b"\xff\xff\xff\x7f" * 8 + whole[76:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DOCX, MediaType.DOCX),
        (XLSX, MediaType.XLSX),
        (PPTX, MediaType.PPTX),
        (office_shell("word/document2.xml", f"{OOXML}.wordprocessingml.document"), MediaType.DOCX),
        (archive({"word/document.xml": "<x/>"}), MediaType.DOCX),
        (ODT, MediaType.ODT),
        (EPUB, MediaType.EPUB),
        (archive({"META-INF/container.xml": "<x/>", "a.xhtml": HTML}), MediaType.EPUB),
        (RTF, MediaType.RTF),
        (message(), MediaType.EML),
        (received(), MediaType.EML),
        (b'{"a": [1, -2.5e3, true, null, "\\u00e9"], "b": {}}', MediaType.JSON),
        (b'\xef\xbb\xbf[\n  {"a": 1}\n]\n', MediaType.JSON),
        (json.dumps([{"key": "value " * 20}] * 2000).encode(), MediaType.JSON),
        (json.dumps({"long": "word " * 40_000}).encode(), MediaType.JSON),
        (JSONL, MediaType.JSONL),
        (b'{"key": "value"}\n' * 10_000, MediaType.JSONL),
        (NOTEBOOK, MediaType.IPYNB),
        (b'{"about": "nbformat"}', MediaType.JSON),
        (b'{"nbformat": "4", "cells": []}', MediaType.JSON),
        (XML, MediaType.XML),
        (XML.decode().encode("utf-16"), MediaType.XML),
        (b'<rss version="2.0"><channel/></rss>\n', MediaType.XML),
        (b'<!DOCTYPE lolz [<!ENTITY a "b">]><lolz>&a;</lolz>', MediaType.XML),
        (b'<ns:root xmlns:ns="urn:x"><ns:a/></ns:root>', MediaType.XML),
        (b"<r>" + b"<a>word</a>" * 10_000 + b"</r>", MediaType.XML),
        (RST, MediaType.RST),
        (ORG, MediaType.ORG),
        (compound_file("WordDocument"), MediaType.DOC),
        (compound_file("Workbook"), MediaType.XLS),
        (compound_file("Book"), MediaType.XLS),
        (compound_file("__properties_version1.0"), MediaType.MSG),
    ],
)
def test_detection_by_content_alone_answers_the_format(data: bytes, expected: MediaType) -> None:
    assert detect_media_type(data) is expected


@pytest.mark.parametrize(
    "data",
    [
        CSV,
        b"a\tb\n1\t2\n3\t4\n",
        b"2024-01-01, 10:00, INFO, started\n" * 20,
        b"import os, sys\nprint(os, sys)\n",
        b"[1] Knuth, The Art.\n[2] Dijkstra, Go To.",
        b"[section]\nkey = value\n",
        b"{not json}",
        b"42",
        b'"quoted"',
        b'{"a": 1} trailing words',
        b'{"a": 1',
        b'{"a": 1}]',
        b"From: Ann\nTo: Ben\nSubject: lunch\nDate: today\n\nA note on paper.\n",
        b"Note: this is\nWarning: that is\n\nplain.",
        b"<not closed",
        b"<placeholder> is what you replace.",
        b".. note::\n   a directive alone",
    ],
)
def test_detection_without_unmistakable_signs_is_text(data: bytes) -> None:
    assert detect_media_type(data) is MediaType.TEXT


@pytest.mark.parametrize(
    ("data", "declared", "file_name", "expected"),
    [
        (CSV, "", "a.csv", MediaType.CSV),
        (CSV, "text/comma-separated-values; header=present", "", MediaType.CSV),
        (CSV, "text/plain", "a.csv", MediaType.TEXT),
        (b"a\tb\n", "", "a.TSV", MediaType.TSV),
        (JSONL, "application/x-ndjson", "", MediaType.JSONL),
        (JSONL, "application/json", "", MediaType.JSONL),
        (b'{"a": 1}', "", "one.jsonl", MediaType.JSONL),
        (b'[\n{"a": 1},\n{"a": 2}\n]', "", "a.jsonl", MediaType.JSON),
        (b'{"a": 1,', "", "a.json", MediaType.JSON),
        (b'{"@context": "x"}', "application/ld+json", "", MediaType.JSON),
        (NOTEBOOK, "application/json", "", MediaType.JSON),
        (NOTEBOOK, "", "a.ipynb", MediaType.IPYNB),
        (b"{}", "application/x-ipynb+json", "", MediaType.IPYNB),
        (XML, "text/xml", "", MediaType.XML),
        (XML, "text/plain", "", MediaType.TEXT),
        (HTML.encode(), "", "a.xml", MediaType.HTML),
        (
            b'<?xml version="1.0"?><?xml-stylesheet href="a"?>\n<html xmlns="http://www.w3.org/1999/xhtml"/>',
            "application/xml",
            "",
            MediaType.HTML,
        ),
        (b"Title\n=====\n", "", "a.rst", MediaType.RST),
        (b"* Hive\n", "", "a.org", MediaType.ORG),
        (b"Subject: x\n\ny", "", "a.eml", MediaType.EML),
        (message(), "text/plain", "", MediaType.TEXT),
        (RTF, "text/rtf", "", MediaType.RTF),
        (RTF, "", "a.doc", MediaType.RTF),
        (CSV, "", "a.xls", MediaType.TEXT),
        (compound_file("WordDocument"), "application/msword; charset=binary", "", MediaType.DOC),
        (compound_file("Workbook"), "application/msexcel", "", MediaType.XLS),
        (compound_file("__properties_version1.0"), "application/octet-stream", "a.msg", MediaType.MSG),
        (DOCX, MediaType.DOCX.value, "", MediaType.DOCX),
        (EPUB, "application/octet-stream", "a.epub", MediaType.EPUB),
    ],
)
def test_detection_claim_settles_what_content_leaves_open(
    data: bytes, declared: str, file_name: str, expected: MediaType
) -> None:
    assert detect_media_type(data, declared, file_name) is expected


@pytest.mark.parametrize(
    ("data", "file_name", "detected"),
    [
        (XLSX, "a.docx", MediaType.XLSX),
        (DOCX, "a.pdf", MediaType.DOCX),
        (pdf(), "a.docx", MediaType.PDF),
        (PNG, "a.epub", "image/png"),
        (b"just words", "a.docx", MediaType.TEXT),
        (CSV, "a.xlsx", MediaType.TEXT),
        (b"just words", "a.rtf", MediaType.TEXT),
        (RTF, "a.txt", MediaType.RTF),
        (archive({"a.txt": "x"}), "a.odt", "application/zip"),
        (archive({"a.txt": "x"}), "a.csv", "application/zip"),
        (compound_file("WordDocument"), "a.docx", "application/msword"),
        (HTML.encode(), "a.docx", MediaType.HTML),
    ],
)
def test_detection_content_against_its_claim_is_a_mismatch(
    data: bytes, file_name: str, detected: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data, "", file_name)
    assert caught.value.reason == "MEDIA_TYPE_MISMATCH"
    assert caught.value.metadata["detected_media_type"] == detected


@pytest.mark.parametrize(
    ("data", "detected", "words"),
    [
        (compound_file("PowerPoint Document"), "application/vnd.ms-powerpoint", "PowerPoint 97-2003"),
        (compound_file("Something"), "application/x-ole-storage", ""),
        (compound_file("WordDocument")[:700], "application/x-ole-storage", ""),
        (archive({"a.txt": "x", "b.txt": "y"}), "application/zip", ""),
        (archive({}), "application/zip", ""),
        (archive({"word document.xml": "word/document.xml"}), "application/zip", ""),
        (archive({"META-INF/MANIFEST.MF": "x"}), "application/java-archive", ""),
        (
            archive({"mimetype": "application/vnd.oasis.opendocument.spreadsheet"}),
            "application/vnd.oasis.opendocument.spreadsheet",
            "",
        ),
        (
            office_shell("word/document.xml", "application/vnd.ms-word.document.macroEnabled"),
            "application/vnd.ms-word.document.macroenabled",
            "",
        ),
    ],
)
def test_detection_unsupported_container_is_named(data: bytes, detected: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data)
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert caught.value.metadata["detected_media_type"] == detected
    assert words in caught.value.message


@pytest.mark.parametrize("declared", [MediaType.DOC, MediaType.XLS, MediaType.MSG])
def test_detection_content_that_is_no_compound_file_is_a_mismatch(declared: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(b"just words", declared)
    assert caught.value.reason == "MEDIA_TYPE_MISMATCH"


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        (compound_file("WordDocument")[:700], MediaType.DOC.value),
        (cut_compound_file("WordDocument"), ""),
        (cut_compound_file("Workbook"), ""),
        (cut_compound_file("__properties_version1.0"), ""),
    ],
)
def test_detection_damaged_compound_file_is_corrupt(data: bytes, declared: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data, declared)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("claim", ["", "a.docx"])
def test_detection_office_document_with_a_password_is_encrypted(claim: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(compound_file("EncryptedPackage"), "", claim)
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


def test_detection_archive_with_a_password_is_encrypted() -> None:
    marked = bytearray(ODT)
    marked[6] |= 1  # the general purpose flags of the first local header and of the first directory entry
    marked[ODT.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(bytes(marked))
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


@pytest.mark.parametrize(
    ("data", "file_name"),
    [
        (DOCX[: len(DOCX) // 2], ""),
        (DOCX[:-30], "a.docx"),
        (EPUB[:-30], ""),
        (archive({"x.xml": "y"})[:-30], "a.xlsx"),
    ],
    ids=["DOCX", "DOCX by its name", "EPUB", "XLSX by its name"],
)
def test_detection_truncated_document_in_an_archive_is_corrupt(data: bytes, file_name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data, "", file_name)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_detection_archive_with_too_many_members_is_not_listed() -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(archive({str(number): "" for number in range(10_001)}))
    assert caught.value.metadata["detected_media_type"] == "application/zip"


HOSTILE = {
    "brackets": b"[" * 200_000,
    "braces": b'{"a":' * 40_000,
    "open strings": b'["' + b"\\" * 200_000,
    "processing instructions": b"<?" * 100_000,
    "comments": b"<!--" * 50_000,
    "document types": b"<!DOCTYPE [" * 20_000,
    "names": b"<" + b"a" * 200_000,
    "headers": b"A: b\n" * 40_000,
    "underlines": b"=" * 200_000,
    "titles": b"a" * 199 + b"\n" + b"=\n" * 100_000,
    "directives": b".. _" * 50_000,
    "spaces": b" " * 200_000 + b"x",
    "digits": b"[" + b"1" * 200_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.timeout(20)
def test_detection_of_hostile_text_ends(kind: str) -> None:
    assert detect_media_type(HOSTILE[kind]) in MediaType
