from __future__ import annotations

import pytest

from ingest_worker.parse import detect_media_type
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument
from tests.documents import HTML, MARKDOWN, PNG, pdf, pdf_truncated

LATIN = "El niño y la señora compran piñas en la mañana. ".encode("cp1252") * 5


@pytest.mark.parametrize(
    ("data", "declared", "file_name", "expected"),
    [
        (pdf(), "", "", MediaType.PDF),
        (pdf(), "application/pdf", "a.txt", MediaType.PDF),
        (pdf(), "application/octet-stream", "a.pdf", MediaType.PDF),
        (b"\n\n" + pdf(), "", "", MediaType.PDF),
        (b"\x00\xff\xfejunk" + pdf(), "", "", MediaType.PDF),
        (pdf_truncated(0.1), "", "", MediaType.PDF),
        (HTML.encode(), "", "", MediaType.HTML),
        (HTML.encode(), "text/plain", "", MediaType.HTML),
        (HTML.encode("utf-16"), "", "", MediaType.HTML),
        (b"<!-- a --> <HTML><p>x</html>", "", "a.md", MediaType.HTML),
        (b"<p>One</p><p>Two</p>", "", "", MediaType.HTML),
        (b"<p>One</p><p>Two</p>", "text/markdown", "", MediaType.MARKDOWN),
        (b"no tags at all", "text/html", "", MediaType.TEXT),
        (b"One <b>and</b> <span>two</span>", "text/html; charset=utf-8", "", MediaType.HTML),
        (MARKDOWN.encode(), "", "", MediaType.MARKDOWN),
        (b"# Madrid\n\nA city.\n\n# Paris\n\nA city too.", "", "", MediaType.MARKDOWN),
        (b"# a comment\nport = 1\n# another\nhost = 2", "", "", MediaType.TEXT),
        (MARKDOWN.encode(), "", "notes.txt", MediaType.TEXT),
        (b"plain words", "text/markdown", "", MediaType.MARKDOWN),
        (b"plain words", "TEXT/X-Markdown ; a=b", "", MediaType.MARKDOWN),
        (b"plain words", "", "C:\\notes\\a.MD", MediaType.MARKDOWN),
        (b"plain words", "", "a.csv", MediaType.CSV),
        (b"a,b\n1,2", "application/vnd.ms-excel", "a.csv", MediaType.CSV),
        (b"a\tb\n1\t2", "application/vnd.ms-excel", "A.TSV", MediaType.TSV),
        (b"How a PDF starts: %PDF-1.7. Then come obj and %%EOF.", "", "", MediaType.TEXT),
        (LATIN, "", "", MediaType.TEXT),
        ("\ufeffsigned".encode(), "text/plain", "", MediaType.TEXT),
        (("a" * 65_535 + "é" + "b" * 100).encode(), "", "", MediaType.TEXT),
    ],
)
def test_detection_known_content_answers_its_format(
    data: bytes, declared: str, file_name: str, expected: MediaType
) -> None:
    assert detect_media_type(data, declared, file_name) is expected


@pytest.mark.parametrize(
    ("data", "declared", "file_name", "detected"),
    [
        (PNG, "application/pdf", "", "image/png"),
        (PNG, "text/plain", "", "image/png"),
        (PNG, "", "a.md", "image/png"),
        (b"just words", "application/pdf", "", "text/plain"),
        (b"just words", "", "a.pdf", "text/plain"),
        (HTML.encode(), "application/pdf", "", "text/html"),
        (pdf(), "text/plain", "", "application/pdf"),
        (pdf(), "", "a.html", "application/pdf"),
        (b"a,b\n1,2", "application/vnd.ms-excel", "a.xls", "text/plain"),
        (pdf(), "application/vnd.ms-excel", "a.csv", "application/pdf"),
    ],
)
def test_detection_lying_claim_raises_media_type_mismatch(
    data: bytes, declared: str, file_name: str, detected: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data, declared, file_name)
    assert caught.value.reason == "MEDIA_TYPE_MISMATCH"
    assert caught.value.metadata["detected_media_type"] == detected
    assert detected in caught.value.message


@pytest.mark.parametrize(
    ("data", "detected"),
    [
        (PNG, "image/png"),
        (b"%!PS-Adobe-3.0\n", "application/postscript"),
        (bytes(range(256)) * 3, "unknown binary data"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "ELF executable"),
        (b"\x01\x02\x03\x04" * 20, "unknown binary data"),
        (bytes(100), "unknown binary data"),
        (b"MZ" + bytes(60), "unknown binary data"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(60), "image/jpeg"),
        (b"PK\x03\x04" + bytes(60), "application/zip"),
    ],
)
def test_detection_unsupported_content_names_it_and_the_supported_formats(data: bytes, detected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data)
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert detected in caught.value.message
    assert all(media_type in caught.value.message for media_type in MediaType)


def test_detection_unsupported_declaration_raises_and_names_it() -> None:
    with pytest.raises(InvalidArgument, match="image/png") as caught:
        detect_media_type(b"words", "image/png")
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.parametrize("data", [b"", b" \t\r\n \n"])
def test_detection_blank_content_raises_document_empty(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data, "application/pdf")
    assert caught.value.reason == "DOCUMENT_EMPTY"


def test_detection_broken_utf16_raises_document_corrupt() -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(b"\xff\xfea\x00b")
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize(
    "data",
    [
        b"# h0\n# h1",
        b"# h0\r\n## h1\r\n",
        b"# One\n" + b"word " * 60 + b"\n# Two\n" + b"word " * 60,
        b"# One\nA short sentence.\n## Two\nAnother short sentence.",
    ],
)
def test_detection_headings_with_prose_or_nothing_between_are_markdown(data: bytes) -> None:
    assert detect_media_type(data) is MediaType.MARKDOWN


@pytest.mark.parametrize(
    "data",
    [
        b"# only one heading\n" + b"word " * 60,
        b"# where it listens\nport 8080\n## who may connect\nallow all\n",
        b"# the name that others see, with the port\nname: the server of the house in town\n# b\nx: 1\n",
        b"# load it\nimport numpy as np\n# loop\nfor x in range(10):\n    print('a b c d e f g', x)\n",
    ],
)
def test_detection_code_with_comments_is_plain_text(data: bytes) -> None:
    assert detect_media_type(data) is MediaType.TEXT


@pytest.mark.parametrize(
    "source",
    ["-" * 60_000, "[" * 60_000, "[a](" * 15_000, "<!---->" * 9_000 + "x", "<!--" * 15_000, "# a\n" * 15_000],
    ids=["dashes", "brackets", "links", "comments", "open comments", "headings"],
)
def test_detection_hostile_text_takes_time_in_proportion_to_it(source: str) -> None:
    assert detect_media_type(source.encode()) in {MediaType.TEXT, MediaType.MARKDOWN}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_detection_utf16_without_byte_order_mark_is_text(encoding: str) -> None:
    assert detect_media_type("This is a tést document.\n".encode(encoding)) is MediaType.TEXT
    assert detect_media_type(HTML.encode(encoding)) is MediaType.HTML
    assert detect_media_type(("año " * 40_000).encode(encoding)) is MediaType.TEXT


@pytest.mark.parametrize("data", [b"\x01\x00" * 200, b"RIFF\x24\x00\x00\x00WAVE" + b"a\x00" * 200])
def test_detection_binary_with_nuls_at_every_other_place_is_unsupported(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        detect_media_type(data)
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"
