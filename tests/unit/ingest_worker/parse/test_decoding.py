from __future__ import annotations

import pytest

from ingest_worker.parse.decoding import decode_text, unmarked_utf16
from rag_server.errors import InvalidArgument

SPANISH = "El niño y la señora compran piñas por la mañana. " * 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_decoding_common_encodings_are_recognised(encoding: str) -> None:
    assert decode_text(SPANISH.encode(encoding)) == SPANISH


def test_decoding_declared_charset_is_used_where_utf8_fails() -> None:
    data = "Привет".encode("koi8-r")
    assert decode_text(data, charset="koi8-r") == "Привет"


@pytest.mark.parametrize("charset", ["no-such-charset", "ascii", "rot13", "base64"])
def test_decoding_useless_declaration_falls_back_to_a_guess(charset: str) -> None:
    assert decode_text(SPANISH.encode("cp1252"), charset=charset) == SPANISH


def test_decoding_utf8_wins_over_a_wrong_declaration() -> None:
    assert decode_text("é".encode(), charset="iso-8859-1") == "é"


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf\xff", b"\xff\xfe\x00\xd8", b"\xfe\xff\x00"])
def test_decoding_mark_with_invalid_content_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_text(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_decoding_bytes_of_no_encoding_raises_document_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_worker.parse.decoding.guess_encoding", lambda _: "")
    with pytest.raises(InvalidArgument) as caught:
        decode_text(b"\x81\x8d\xff\xfe")
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [SPANISH, "Four", "x" * 5000 + "🦜"])
def test_decoding_utf16_without_mark_is_recognised(encoding: str, text: str) -> None:
    assert unmarked_utf16(text.encode(encoding)) == encoding
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "data", [b"", b"plain words", b"a\x00", bytes(100), b"ab\x00\x00" * 20, b"a\x00" * 20 + b"b"]
)
def test_decoding_other_data_is_not_taken_for_utf16(data: bytes) -> None:
    assert unmarked_utf16(data) == ""
