"""B5: documents made to exhaust whoever reads them. Each fails its job with a reason; the worker goes on."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ingest_worker.parse.registry import PARSERS
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.domain.document import MediaType
from tests.documents import office_shell
from tests.rag_client import RagClient, ServerUnderTest

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEBIBYTE = 1024 * 1024
LIMITS = frozenset({"DOCUMENT_PARSER_TIMEOUT", "DOCUMENT_PARSER_OUT_OF_MEMORY", "DOCUMENT_TOO_LARGE"})
DAMAGE = frozenset({"DOCUMENT_CORRUPT", "DOCUMENT_HAS_NO_TEXT"})


def pdf_of_objects(*bodies: bytes, trailer: bytes = b"") -> bytes:
    """Return a PDF of these objects, numbered from 1, the first one its catalog."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(bodies, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R " % (len(bodies) + 1)
    out += trailer.replace(b"HERE", b"%d" % table) + b" >>\nstartxref\n%d\n%%%%EOF\n" % table
    return bytes(out)


WORDPROCESSING = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONSHIPS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Target="word/document.xml" Type="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships/officeDocument"/></Relationships>'
)
CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"


def pdf_xref_loop() -> bytes:
    """Return a PDF whose cross-reference table comes after itself, and whose pages are their own parents."""
    return pdf_of_objects(
        CATALOG, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 /Parent 2 0 R >>", trailer=b"/Prev HERE"
    )


def pdf_huge_page_count() -> bytes:
    """Return a PDF with one page that says that it has two thousand million."""
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>"
    return pdf_of_objects(CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>", page)


def repeated_zlib(piece: bytes, count: int) -> bytes:
    """Return what zlib would make of `piece`, `count` times, having compressed it once (RFC 1950)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(count):
        checksum = zlib.adler32(piece, checksum)
    return b"\x78\xda" + block * count + packer.flush() + checksum.to_bytes(4, "big")


def pdf_flate_bomb() -> bytes:
    """Return a PDF whose page is 2 GB of text operators, deflated twice."""
    operators = b"BT /F1 12 Tf 10 10 Td (bomb) Tj ET\n" * 30_000
    packed = zlib.compress(repeated_zlib(operators, 2000), 9)
    stream = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (
        len(packed),
        bytes(packed),
    )
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>"
    )
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    return pdf_of_objects(CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page, stream, font)


def docx_bomb() -> bytes:
    """Return a DOCX whose main part is 330 MB of paragraphs."""
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    shell = zipfile.ZipFile(io.BytesIO(office_shell("word/document.xml", main)))
    target = io.BytesIO()
    paragraphs = b"<w:p><w:r><w:t>bomb</w:t></w:r></w:p>" * 30_000
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("[Content_Types].xml", shell.read("[Content_Types].xml"))
        made.writestr("_rels/.rels", RELATIONSHIPS)
        with made.open("word/document.xml", "w", force_zip64=True) as part:
            part.write(
                b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
            )
            for _ in range(300):
                part.write(paragraphs)
            part.write(b"</w:body></w:document>")
    return target.getvalue()


def billion_laughs() -> bytes:
    """Return XML of a thousand characters that stands for a billion words."""
    entities = "".join(f'<!ENTITY lol{level} "{f"&lol{level - 1};" * 10}">' for level in range(1, 10))
    return (
        f'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol0 "lol">{entities}]><lolz>&lol9;</lolz>'.encode()
    )


def html_nested() -> bytes:
    return (
        b"<!DOCTYPE html><html><body>"
        + b"<div>" * 100_000
        + b"deep"
        + b"</div>" * 100_000
        + b"</body></html>"
    )


@dataclass(frozen=True)
class Bomb:
    """A document and the reasons that are right for it, whichever limit it meets first."""

    data: Callable[[], bytes]
    reasons: frozenset[str]
    media_type: MediaType


BOMBS = {
    "PDF with a loop in its tables": Bomb(pdf_xref_loop, DAMAGE, MediaType.PDF),
    "PDF of two thousand million pages": Bomb(pdf_huge_page_count, DAMAGE | LIMITS, MediaType.PDF),
    "PDF of deflated text": Bomb(pdf_flate_bomb, DAMAGE | LIMITS, MediaType.PDF),
    "DOCX of deflated text": Bomb(docx_bomb, LIMITS, MediaType.DOCX),
    "XML of a billion laughs": Bomb(billion_laughs, LIMITS | DAMAGE, MediaType.XML),
    "HTML nested deeply": Bomb(html_nested, DAMAGE | LIMITS, MediaType.HTML),
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_bomb_fails_its_job_and_the_worker_finishes_the_next(
    server: ServerUnderTest, client: RagClient, collection: str, kind: str
) -> None:
    bomb = BOMBS[kind]
    if bomb.media_type not in PARSERS:
        pytest.skip(f"no parser of {bomb.media_type} yet")
    job = await client.submit(collection, document_id="bomb", data=bomb.data(), media_type=bomb.media_type)
    ended = await client.end_of(job.id, timeout_s=110)

    assert ended.state == ingest_pb.JOB_STATE_FAILED
    assert ended.error.reason in bomb.reasons
    assert ended.error.message
    assert ended.attempt_count == 1
    await client.ingest_text(collection, "The worker goes on.", "afterwards")
    assert (await client.search(collection, "does it go on?")).results
