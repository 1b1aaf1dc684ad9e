from __future__ import annotations

import time
from email.message import EmailMessage

import pytest

from ingest_worker.parse import eml
from ingest_worker.parse.eml import EmailParser
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_textual import EML
from tests.unit.ingest_worker.parse.block_texts import parts

HEADERS = b"From: a@example.org\nSubject: Hi\n"


def texts(data: bytes) -> list[str]:
    return [text for *_, text in parts(EmailParser(), data)]


def test_eml_headers_plain_body_quotes_and_attachment_names_are_read() -> None:
    assert parts(EmailParser(), EML) == [
        ("heading", 1, "The hive"),
        (
            "paragraph",
            0,
            "From: María <maria@example.org>\nTo: Bob <bob@example.org>\n"
            "Date: Tue, 05 May 2026 10:00:00 +0200",
        ),
        ("paragraph", 0, "La colmena está llena."),
        ("paragraph", 0, "> How is it?"),
        ("list", 0, "Attachments:\n- bees.pdf (application/pdf)"),
    ]
    assert EmailParser().parse(EML).title == "The hive"


def test_eml_html_is_read_where_the_plain_alternative_is_empty() -> None:
    message = EmailMessage()
    message["From"] = "a@example.org"
    message.set_content(" \n")
    message.add_alternative("<html><body><h2>News</h2><p>Honey</p></body></html>", subtype="html")
    assert parts(EmailParser(), message.as_bytes())[1:] == [("heading", 2, "News"), ("paragraph", 0, "Honey")]


def test_eml_forwarded_message_is_read_one_level_below() -> None:
    inner = EmailMessage()
    inner["Subject"], inner["From"] = "Inner", "b@example.org"
    inner.set_content("inner body")
    outer = EmailMessage()
    outer["Subject"], outer["From"] = "Outer", "a@example.org"
    outer.set_content("see below")
    outer.add_attachment(inner)
    assert parts(EmailParser(), outer.as_bytes()) == [
        ("heading", 1, "Outer"),
        ("paragraph", 0, "From: a@example.org"),
        ("paragraph", 0, "see below"),
        ("heading", 2, "Inner"),
        ("paragraph", 0, "From: b@example.org"),
        ("paragraph", 0, "inner body"),
    ]


@pytest.mark.parametrize("charset", ["utf-8", "iso-2022-jp", "utf-16", "nonsense"])
def test_eml_body_is_decoded_by_its_charset_or_by_what_it_is(charset: str) -> None:
    encoded = "蜂蜜です".encode("utf-8" if charset == "nonsense" else charset)
    data = (
        HEADERS
        + f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: base64\n\n".encode()
    )
    message = EmailMessage()
    message.set_content(encoded, maintype="application", subtype="x")
    assert texts(data + message.get_payload().encode())[-1] == "蜂蜜です"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_eml_saved_in_a_unicode_encoding_is_read(encoding: str) -> None:
    assert texts((HEADERS + b"\nhello there").decode().encode(encoding))[-1] == "hello there"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_eml_headers_that_are_not_encoded_are_read(encoding: str) -> None:
    assert EmailParser().parse("From: a@b\nSubject: ¿Mañana?\n\nb".encode(encoding)).title == "¿Mañana?"


def test_eml_flowed_text_is_joined() -> None:
    data = HEADERS + b"Content-Type: text/plain; format=flowed\n\none \ntwo\nthree\n> q \n> r\n-- \nsig"
    assert texts(data)[-1] == "one two\nthree\n> q r\n--\nsig"


def test_eml_encoded_word_in_an_unknown_charset_stays_as_it_is() -> None:
    assert EmailParser().parse(b"From: a@b\nSubject: =?klingon?q?x?=\n\nb").title == "=?klingon?q?x?="


@pytest.mark.parametrize(
    "part",
    [
        b"Content-Type: multipart/encrypted; boundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\n"
        b"Version: 1\n--b--\n",
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nMIIB\n",
        b"\n-----BEGIN PGP MESSAGE-----\n\nhQEM\n-----END PGP MESSAGE-----\n",
    ],
)
def test_eml_encrypted_raises_document_encrypted(part: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        EmailParser().parse(HEADERS + part)
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


@pytest.mark.parametrize("data", [b"no headers at all", b"\x00\xff\x01", b"Key: value\n\nbody"])
def test_eml_without_mail_headers_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        EmailParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_eml_without_body_has_its_headers() -> None:
    assert texts(HEADERS) == ["Hi", "From: a@example.org"]


def test_eml_absurd_nesting_raises_document_corrupt() -> None:
    data = HEADERS + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number) for number in range(2000)
    )
    with pytest.raises(InvalidArgument, match="too deeply") as caught:
        EmailParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_eml_too_many_parts_raise_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eml, "_MAX_PARTS", 10)
    data = HEADERS + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 11 + b"--b--\n"
    with pytest.raises(ResourceExhausted) as caught:
        EmailParser().parse(data)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


@pytest.mark.parametrize(
    "hostile",
    [
        b"Content-Type: text/plain" + b"; a=b" * 400_000,
        b"Content-Type: text/plain" + b';"' * 400_000,
        b"To: " + b"=?utf-8?q?x?= " * 200_000,
        b"To: " + b"(" * 1_000_000,
        b"X" * 1_000_000 + b": y",
        b"Content-Disposition: attachment; " + b"filename*0*=x; " * 100_000,
    ],
)
def test_eml_hostile_headers_take_no_long_time(hostile: bytes) -> None:
    started = time.process_time()
    texts(HEADERS + hostile + b"\n\nbody")
    assert time.process_time() - started < 5
