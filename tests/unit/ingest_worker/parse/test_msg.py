from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.parse import msg, parse_document
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_compound import compound_file_of, outlook_streams
from tests.unit.ingest_worker.parse.block_texts import parts_of

SUBJECT, CLASS, NAME, ADDRESS, TO, CC, BODY, HTML, RTF = (
    *(0x0037, 0x001A, 0x0C1A, 0x0C1F, 0x0E04, 0x0E03),
    *(0x1000, 0x1013, 0x1009),
)
LONG_NAME, SHORT_NAME, MEDIA_TYPE = 0x3707, 0x3704, 0x370E
TIME, LONG = 0x0040, 0x0003
SENT, CODE_PAGE = (0x0039, TIME), (0x3FFD, LONG)
TICKS = (
    int((datetime(2026, 5, 5, 8, tzinfo=UTC) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
)
HEAD = {SUBJECT: "The hive", NAME: "María", ADDRESS: "maria@example.org", TO: "Bob; Eve"}


def message(
    texts: dict[int, str | bytes],
    numbers: dict[tuple[int, int], int] | None = None,
    more: dict[str, bytes] | None = None,
) -> bytes:
    return compound_file_of({**outlook_streams(texts, numbers), **(more or {})})


def said(data: bytes) -> list[tuple[str, int, str]]:
    return parts_of(parse_document(data, MediaType.MSG))


def reason(data: bytes) -> str:
    with pytest.raises((InvalidArgument, ResourceExhausted)) as caught:
        parse_document(data, MediaType.MSG)
    return caught.value.reason


def attachment(number: int, texts: dict[int, str | bytes], path: str = "") -> dict[str, bytes]:
    return outlook_streams(texts, path=f"{path}__attach_version1.0_#{number:08X}/", header_bytes=8)


def attached_message(texts: dict[int, str | bytes], path: str = "") -> dict[str, bytes]:
    place = f"{path}__attach_version1.0_#00000000/"
    inner = outlook_streams(texts, path=f"{place}__substg1.0_3701000D/", header_bytes=24)
    return {**outlook_streams({}, path=place, header_bytes=8), **inner}


def test_msg_headers_body_and_attachment_names_are_read() -> None:
    texts: dict[int, str | bytes] = {
        **HEAD,
        CC: "Zoë\r\n Q",
        BODY: "La colmena está llena.\r\n\r\n> How is it?",
    }
    data = message(
        texts,
        {SENT: TICKS},
        {
            **attachment(
                0, {LONG_NAME: "bees and more.pdf", SHORT_NAME: "BEES~1.PDF", MEDIA_TYPE: "application/pdf"}
            ),
            **attachment(1, {SHORT_NAME: "B.TXT"}),
            **attachment(2, {}),
        },
    )
    assert said(data) == [
        ("heading", 1, "The hive"),
        (
            "paragraph",
            0,
            "From: María <maria@example.org>\nTo: Bob; Eve\nCc: Zoë Q\nDate: 2026-05-05 08:00:00+00:00",
        ),
        ("paragraph", 0, "La colmena está llena."),
        ("paragraph", 0, "> How is it?"),
        ("list", 0, "Attachments:\n- bees and more.pdf (application/pdf)\n- B.TXT\n- unnamed"),
    ]
    assert parse_document(data, MediaType.MSG).title == "The hive"


@pytest.mark.parametrize(
    ("page", "encoded", "expected"),
    [
        (1251, "Улей полон мёда".encode("cp1251"), "Улей полон мёда"),
        (65001, "Улей".encode(), "Улей"),
        (932, "蜂蜜です".encode("cp932"), "蜂蜜です"),
        (99_999, "está".encode("cp1252") + b"\0", "está"),
        (0, b"plain", "plain"),
    ],
)
def test_msg_strings_in_a_code_page_are_decoded_by_it(page: int, encoded: bytes, expected: str) -> None:
    data = message({SUBJECT: "S"}, {CODE_PAGE: page}, {"__substg1.0_1000001E": encoded})
    assert said(data)[-1] == ("paragraph", 0, expected)


def test_msg_html_is_read_where_there_is_no_plain_text() -> None:
    page = "<html><body><h2>Naïve</h2><script>x</script><p>Honey</p></body></html>"
    expected = [("heading", 2, "Naïve"), ("paragraph", 0, "Honey")]
    assert (
        said(message({**HEAD, BODY: " \r\n", HTML: page.encode("cp1252")}, {CODE_PAGE: 1252}))[2:] == expected
    )
    assert said(message({**HEAD, HTML: page}))[2:] == expected


def test_msg_rtf_is_read_where_there_is_nothing_else() -> None:
    source = rb"{\rtf1\ansi\ansicpg1252 caf\'e9\par honey\par}"
    packed = struct.pack("<4I", len(source) + 12, len(source), 0x414C454D, 0) + source
    assert said(message({**HEAD, RTF: packed}))[2:] == [("paragraph", 0, "café"), ("paragraph", 0, "honey")]


def test_msg_attached_message_is_read_one_level_below() -> None:
    data = message(
        {**HEAD, BODY: "see below"}, None, attached_message({SUBJECT: "Inner", BODY: "inner body"})
    )
    assert said(data)[2:] == [
        ("paragraph", 0, "see below"),
        ("heading", 2, "Inner"),
        ("paragraph", 0, "inner body"),
    ]


def test_msg_sender_address_within_a_company_is_left_out() -> None:
    data = message({SUBJECT: "S", NAME: "Ann", ADDRESS: "/O=CORP/OU=X/CN=ANN", BODY: "b"})
    assert said(data)[1][2] == "From: Ann"


def test_msg_without_body_has_its_headers() -> None:
    assert [text for *_, text in said(message({SUBJECT: "Only this"}))] == ["Only this"]
    assert [text for *_, text in said(message({SUBJECT: "S", HTML: b"<html></html>"}))] == ["S"]


def test_msg_with_a_time_beyond_all_calendars_has_no_date() -> None:
    assert [text for *_, text in said(message({SUBJECT: "S"}, {SENT: 2**64 - 1}))] == ["S"]


def test_msg_without_anything_raises_document_has_no_text() -> None:
    assert reason(message({})) == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize("kind", ["IPM.Note.SMIME", "IPM.Note.rpmsg.Microsoft"])
def test_msg_encrypted_raises_document_encrypted(kind: str) -> None:
    assert reason(message({**HEAD, CLASS: kind})) == "DOCUMENT_ENCRYPTED"


def test_msg_signed_is_read() -> None:
    assert said(message({**HEAD, CLASS: "IPM.Note.SMIME.MultipartSigned", BODY: "b"}))[-1][2] == "b"


@pytest.mark.parametrize(
    "data",
    [
        compound_file_of({"Other": b"x"}),
        message({**HEAD, RTF: b"short"}),
        message({**HEAD, RTF: struct.pack("<4I", 9, 9, 0x75465A4C, 0) + b"\xff\x00"}),
    ],
    ids=["no properties", "RTF without header", "RTF cut"],
)
def test_msg_damaged_raises_document_corrupt(data: bytes) -> None:
    assert reason(data) == "DOCUMENT_CORRUPT"


def test_msg_absurd_nesting_raises_document_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msg, "_MAX_DEPTH", 3)
    streams: dict[str, bytes] = {}
    path = ""
    for _ in range(3):
        streams.update(attached_message({SUBJECT: "x"}, path))
        path += "__attach_version1.0_#00000000/__substg1.0_3701000D/"
    assert reason(message(HEAD, None, streams)) == "DOCUMENT_CORRUPT"


def test_msg_too_many_attachments_raise_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msg, "_MAX_ATTACHMENTS", 2)
    more = {name: content for n in range(3) for name, content in attachment(n, {SHORT_NAME: "A"}).items()}
    assert reason(message(HEAD, None, more)) == "DOCUMENT_TOO_LARGE"


SAMPLE = message({**HEAD, BODY: "b"}, {SENT: TICKS}, attached_message({SUBJECT: "Inner", HTML: b"<p>x</p>"}))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(8, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_msg_mutated_never_raises_another_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes:
        data[place] = value
    try:
        assert said(bytes(data))
    except (InvalidArgument, ResourceExhausted) as error:
        assert error.reason.startswith("DOCUMENT_")  # noqa: PT017 - most changes do no harm
