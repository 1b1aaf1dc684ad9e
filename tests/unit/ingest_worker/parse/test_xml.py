from __future__ import annotations

import time
from pathlib import Path

import pytest

from ingest_worker.parse import xml_tree
from ingest_worker.parse.xml import XmlParser
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_textual import DOCBOOK
from tests.unit.ingest_worker.parse.block_texts import parts

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha">'
    + "".join(f'<!ENTITY b{n} "{("&b" + (str(n - 1) if n else "") + ";") * 10}">' for n in range(9))
    + "]><a{}>{}</a>"
)


def test_xml_docbook_titles_are_headings_of_their_sections() -> None:
    assert parts(XmlParser(), DOCBOOK) == [
        ("heading", 1, "Bees"),
        ("paragraph", 0, "Jane Doe"),
        ("heading", 2, "The queen"),
        ("paragraph", 0, "She lays two thousand eggs."),
        ("list", 0, "- one\n- two"),
        ("code", 0, "queen = 1\nhive.add(queen)"),
        ("heading", 3, "Food"),
        ("paragraph", 0, "Jelly."),
    ]
    parsed = XmlParser().parse(DOCBOOK)
    assert (parsed.title, parsed.language) == ("Bees", "en")


def test_xml_jats_article_and_its_citations() -> None:
    data = (
        b"<article><front><article-meta><article-id>10.1/x</article-id><title-group>"
        b"<article-title>On bees</article-title></title-group></article-meta></front>"
        b"<body><sec><title>Methods</title><p>We counted<xref rid='r'>1</xref>.</p>"
        b"<table-wrap><caption><title>Counts</title></caption><table><tr><th>m</th><th>n</th></tr>"
        b"<tr><td>May</td><td>3</td></tr></table></table-wrap></sec></body>"
        b"<back><ref-list><title>References</title><ref><mixed-citation>Doe J. "
        b"<article-title>Hives</article-title>.</mixed-citation></ref></ref-list></back></article>"
    )
    assert parts(XmlParser(), data) == [
        ("heading", 1, "On bees"),
        ("heading", 2, "Methods"),
        ("paragraph", 0, "We counted1."),
        ("paragraph", 0, "Counts"),
        ("table", 0, "| m | n |\n| --- | --- |\n| May | 3 |"),
        ("heading", 2, "References"),
        ("paragraph", 0, "Doe J. Hives."),
    ]


def test_xml_docbook_table_keeps_its_rows() -> None:
    data = (
        b"<section><title>T</title><table><title>Counts</title><tgroup cols='2'><colspec/>"
        b"<thead><row><entry>m</entry><entry>n</entry></row></thead>"
        b"<tbody><row><entry>May</entry><entry><para>3</para></entry></row></tbody></tgroup></table></section>"
    )
    assert parts(XmlParser(), data) == [
        ("heading", 1, "T"),
        ("paragraph", 0, "Counts"),
        ("table", 0, "| m | n |\n| --- | --- |\n| May | 3 |"),
    ]


def test_xml_tei_heads_nest_with_their_divisions() -> None:
    data = (
        b"<TEI xmlns='http://www.tei-c.org/ns/1.0'><teiHeader><fileDesc><titleStmt><title>Poems</title>"
        b"</titleStmt></fileDesc></teiHeader><text><body><div><head>One</head><p>a<lb/>b</p>"
        b"<div><head>Sub</head><p>c</p></div></div></body></text></TEI>"
    )
    assert parts(XmlParser(), data) == [
        ("heading", 1, "Poems"),
        ("heading", 2, "One"),
        ("paragraph", 0, "a\nb"),
        ("heading", 3, "Sub"),
        ("paragraph", 0, "c"),
    ]


def test_xml_data_is_read_as_records_with_attributes() -> None:
    data = (
        b"<catalog><book id='b1'><author>Doe</author><price>5.95</price></book>"
        b"<book id='b2'><author>Roe</author><price>7</price></book></catalog>"
    )
    assert parts(XmlParser(), data) == [
        ("paragraph", 0, "book: id: b1; author: Doe; price: 5.95\nbook: id: b2; author: Roe; price: 7")
    ]
    many = b"<catalog>" + b"<book><author>Doe</author><price>5.95</price></book>" * 20 + b"</catalog>"
    found = parts(XmlParser(), many)
    assert [kind for kind, *_ in found] == ["heading", "table"]
    assert found[1][2].startswith("| author | price |\n")


def test_xml_entity_names_of_html_are_written_out() -> None:
    data = b'<!DOCTYPE article SYSTEM "no.dtd"><article><p>caf&eacute; <b>&nbsp;</b>&mdash; x</p></article>'
    assert parts(XmlParser(), data) == [("paragraph", 0, "café — x")]


@pytest.mark.parametrize(("attribute", "content"), [("", "&b8;"), (' c="&b8;"', ""), ("", "")])
def test_xml_billion_laughs_raises_document_corrupt_at_once(attribute: str, content: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidArgument) as caught:
        XmlParser().parse(BOMB.format(attribute, content).encode())
    assert caught.value.reason == "DOCUMENT_CORRUPT"
    assert time.process_time() - started < 5


def test_xml_external_entity_is_never_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish", encoding="utf-8")
    data = f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{secret}">]><a>&e; text</a>'
    with pytest.raises(InvalidArgument) as caught:
        XmlParser().parse(data.encode())
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("data", [b"<a><b></a>", b"text", b"<a>", b"<a>&undeclared;</a>", b"<a/>x"])
def test_xml_malformed_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="line 1") as caught:
        XmlParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_xml_absurd_nesting_raises_document_corrupt() -> None:
    with pytest.raises(InvalidArgument) as caught:
        XmlParser().parse(b"<a>" * 100_000 + b"x" + b"</a>" * 100_000)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_xml_without_text_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        XmlParser().parse(b"<a><b/><c> </c></a>")
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_xml_too_many_elements_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_tree, "_MAX_TAGS", 10)
    with pytest.raises(ResourceExhausted) as caught:
        XmlParser().parse(b"<a>" + b"<b/>" * 10)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def test_xml_in_another_encoding_is_read() -> None:
    data = '<?xml version="1.0" encoding="iso-8859-1"?><a><p>añ</p></a>'.encode("latin-1")
    assert parts(XmlParser(), data) == [("paragraph", 0, "añ")]
    assert parts(XmlParser(), "<a><p>añ</p></a>".encode("utf-16")) == [("paragraph", 0, "añ")]


def test_xml_of_long_texts_in_unknown_elements_is_read_as_prose() -> None:
    said = (
        "A hive holds one queen and up to sixty thousand workers in summer, which collect nectar and pollen. "
        * 2
    )
    data = f"<news><item><title>Bees</title><body>{said}</body></item></news>".encode()
    assert parts(XmlParser(), data) == [("heading", 1, "Bees"), ("paragraph", 0, said.strip())]
