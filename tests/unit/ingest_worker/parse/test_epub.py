from __future__ import annotations

import pytest

from ingest_worker.parse.epub import EpubParser, member_path
from rag_server.errors import InvalidArgument
from tests.documents_textual import CHAPTER, epub, epub_members, zipped
from tests.unit.ingest_worker.parse.block_texts import parts

ENCRYPTION = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
    'xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
    '<e:EncryptionMethod Algorithm="{}"/></e:EncryptedData></encryption>'
)
ONE = {"one.xhtml": "<h1>One</h1><p>text</p>"}


def reason_of(data: bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        EpubParser().parse(data)
    return caught.value.reason


def test_epub_chapters_come_in_the_order_of_the_spine() -> None:
    assert parts(EpubParser(), epub()) == [
        ("heading", 1, "The hive"),
        ("paragraph", 0, "A hive holds one queen."),
        ("heading", 1, "The winter"),
        ("paragraph", 0, "Bees eat honey."),
        ("list", 0, "- of heather"),
    ]
    parsed = EpubParser().parse(epub())
    assert (parsed.title, parsed.language) == ("Keeping bees", "en-GB")


def test_epub_entries_of_the_contents_become_headings_where_there_are_none() -> None:
    chapters = {
        "a%20b.xhtml": "<p>intro</p>",
        "two.xhtml": "<p>x</p><div><p id='s2'><b>Sub</b>ject</p></div><h3>Known</h3><h4>Below</h4>",
    }
    toc = [("a%20b.xhtml", "Preface"), ("two.xhtml#s2", "The subject"), ("two.xhtml#k", "KNOWN")]
    members = epub_members(chapters, toc=toc)
    members["OEBPS/a b.xhtml"] = members.pop("OEBPS/a%20b.xhtml")
    assert parts(EpubParser(), zipped(members)) == [
        ("heading", 1, "Preface"),
        ("paragraph", 0, "intro"),
        ("paragraph", 0, "x"),
        ("heading", 1, "The subject"),
        ("paragraph", 0, "Subject"),
        ("heading", 1, "Known"),
        ("heading", 2, "Below"),
    ]


def test_epub_entry_of_a_chapter_is_met_by_a_first_heading_that_begins_like_it() -> None:
    members = epub_members(
        {"two.xhtml": "<h2>Chapter 2: Food</h2><p>x</p>"}, toc=[("two.xhtml", "Chapter 2")]
    )
    assert parts(EpubParser(), zipped(members)) == [("heading", 1, "Chapter 2: Food"), ("paragraph", 0, "x")]


def test_epub_2_contents_nest() -> None:
    members = epub_members({"one.xhtml": "<p>a</p><p id='b'>b</p>"})
    members["OEBPS/book.opf"] = (
        str(members["OEBPS/book.opf"])
        .replace(
            'properties="nav" media-type="application/xhtml+xml"', 'media-type="application/x-dtbncx+xml"'
        )
        .replace("nav.xhtml", "toc.ncx")
        .replace("<spine>", '<spine toc="nav">')
    )
    members["OEBPS/toc.ncx"] = (
        '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>Part</text></navLabel>'
        '<content src="one.xhtml"/><navPoint><navLabel><text>Chapter</text></navLabel>'
        '<content src="one.xhtml#b"/></navPoint></navPoint></navMap></ncx>'
    )
    assert parts(EpubParser(), zipped(members)) == [
        ("heading", 1, "Part"),
        ("paragraph", 0, "a"),
        ("heading", 2, "Chapter"),
        ("paragraph", 0, "b"),
    ]


def test_epub_chapter_that_breaks_the_rules_of_xml_is_read_as_html() -> None:
    members = {
        **epub_members(ONE),
        "OEBPS/one.xhtml": "<html><body><p>caf&eacute;<br>one<p>two</body></html>",
    }
    assert [text for *_, text in parts(EpubParser(), zipped(members))] == ["café\none", "two"]


def test_epub_scripts_and_hidden_elements_are_no_text() -> None:
    body = "<script>alert(1)</script><p hidden='hidden'>no</p><p style='display:none'>no</p><p>yes</p>"
    assert parts(EpubParser(), zipped(epub_members({"one.xhtml": body}))) == [("paragraph", 0, "yes")]


@pytest.mark.parametrize("algorithm", ["http://www.w3.org/2001/04/xmlenc#aes128-cbc", ""])
def test_epub_with_rights_management_raises_document_encrypted(algorithm: str) -> None:
    members = {**epub_members(ONE), "META-INF/encryption.xml": ENCRYPTION.format(algorithm)}
    assert reason_of(zipped(members)) == "DOCUMENT_ENCRYPTED"


@pytest.mark.parametrize(
    "algorithm", ["http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"]
)
def test_epub_with_obfuscated_fonts_is_read(algorithm: str) -> None:
    members = {**epub_members(ONE), "META-INF/encryption.xml": ENCRYPTION.format(algorithm)}
    assert len(parts(EpubParser(), zipped(members))) == 2


@pytest.mark.parametrize("missing", ["META-INF/container.xml", "OEBPS/book.opf", "OEBPS/one.xhtml"])
def test_epub_without_a_part_raises_document_corrupt(missing: str) -> None:
    members = epub_members(ONE)
    del members[missing]
    assert reason_of(zipped(members)) == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_epub_truncated_raises_document_corrupt(share: float) -> None:
    assert reason_of(epub()[: int(len(epub()) * share)]) == "DOCUMENT_CORRUPT"


def test_epub_without_spine_raises_document_corrupt() -> None:
    assert reason_of(zipped({**epub_members({}), "OEBPS/book.opf": "<package/>"})) == "DOCUMENT_CORRUPT"


def test_epub_of_pictures_raises_has_no_text() -> None:
    pictures = zipped(epub_members({"one.xhtml": "<img src='a.png'/>"}, title=""))
    assert reason_of(pictures) == "DOCUMENT_HAS_NO_TEXT"


def test_epub_absurd_nesting_raises_document_corrupt() -> None:
    members = {**epub_members(ONE), "OEBPS/one.xhtml": CHAPTER.format("<div>" * 5000 + "x")}
    assert reason_of(zipped(members)) == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize(
    ("href", "path"),
    [("a.xhtml#x", "b/a.xhtml"), ("../c%20d.xhtml", "c d.xhtml"), ("#x", ""), ("http://[", "")],
)
def test_member_path_is_resolved_within_the_container(href: str, path: str) -> None:
    assert member_path("b", href) == path
