from __future__ import annotations

import pytest

from ingest_worker.parse.html import HtmlParser
from rag_server.domain.document import BlockKind
from rag_server.errors import InvalidArgument
from tests.documents import HTML


def parts(source: str | bytes) -> list[tuple[BlockKind, int, str]]:
    parsed = HtmlParser().parse(source.encode() if isinstance(source, str) else source)
    return [(b.kind, b.level, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def said(source: str | bytes) -> list[str]:
    return [text for _, _, text in parts(source)]


def test_html_page_yields_blocks_of_its_main_content() -> None:
    assert parts(HTML) == [
        (BlockKind.HEADING, 1, "Las abejas"),
        (
            BlockKind.PARAGRAPH,
            0,
            "Una colmena tiene una reina y hasta sesenta mil obreras en verano, que recogen néctar y polen.",
        ),
        (BlockKind.HEADING, 2, "La miel"),
        (BlockKind.PARAGRAPH, 0, "La miel madura en el panal hasta que pierde casi toda su agua."),
        (BlockKind.LIST, 0, "- de romero\n  - clara\n- de brezo"),
        (BlockKind.TABLE, 0, "| mes | kilos |\n| --- | --- |\n| mayo | 12 |"),
        (BlockKind.CODE, 0, "def honey():\n    return 12"),
    ]


def test_html_page_has_title_and_language() -> None:
    parsed = HtmlParser().parse(HTML.encode())
    assert (parsed.title, parsed.language) == ("Las abejas", "es")


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ('<meta property="og:title" content="Shared"><title>Page</title>', "Shared"),
        ("<title>Page\n title</title>", "Page title"),
        ("", ""),
    ],
)
def test_html_title_comes_from_the_head(head: str, title: str) -> None:
    source = f"<html><head>{head}</head><body><h1>a</h1><h1>b</h1><p>words</p></body></html>"
    assert HtmlParser().parse(source.encode()).title == title


@pytest.mark.parametrize(
    "markup",
    [
        "<script>SECRET</script>",
        "<style>SECRET</style>",
        "<noscript>SECRET</noscript>",
        "<template>SECRET</template>",
        "<!-- SECRET -->",
        "<p hidden>SECRET</p>",
        "<div style='color:red; DISPLAY : none'>SECRET</div>",
        "<p style='visibility:hidden'>SECRET</p>",
        "<textarea>SECRET</textarea>",
    ],
)
@pytest.mark.parametrize("frame", ["<article><p>shown</p>{}tail</article>", "<div>shown {} tail</div>"])
def test_html_invisible_content_is_not_kept(frame: str, markup: str) -> None:
    text = " ".join(said(f"<html><body>{frame.format(markup)}</body></html>"))
    assert "SECRET" not in text
    assert "shown" in text
    assert "tail" in text


def test_html_without_main_content_falls_back_to_the_body() -> None:
    assert said("<html><body><nav>only a menu</nav></body></html>") == ["only a menu"]


def test_html_text_outside_paragraphs_is_kept_without_the_boilerplate() -> None:
    main = "<div>bare text<br>second line <b>bold</b><div>inner</div>after</div>"
    body = f"<nav>menu menu</nav>{main}<footer>f</footer>"
    assert said(f"<html><body>{body}</body></html>") == ["bare text\nsecond line bold", "inner", "after"]


def test_html_control_character_reference_does_not_break_the_page() -> None:
    assert said("<div>one&#8;</div><div>two</div>") == ["one", "two"]


def test_html_declared_charset_is_honoured() -> None:
    source = "<html><head><meta charset='koi8-r'></head><body><p>Привет, мир</p></body></html>"
    assert said(source.encode("koi8-r")) == ["Привет, мир"]


def test_html_with_xml_declaration_is_read() -> None:
    source = "<?xml version='1.0' encoding='iso-8859-1'?><html xml:lang='fr'><body><p>été</p></body></html>"
    parsed = HtmlParser().parse(source.encode())
    assert (parsed.text, parsed.language) == ("été", "fr")


def test_html_odd_language_is_ignored() -> None:
    assert HtmlParser().parse(b"<html lang='**'><body><p>x</p></body></html>").language == ""


@pytest.mark.parametrize("source", ["<script>x</script>", "<html><body></body></html>", "<!-- only -->"])
def test_html_without_text_raises_has_no_text(source: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        HtmlParser().parse(source.encode())
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize("depth", [1500, 5000])
@pytest.mark.parametrize("tags", ["<div>", "<ul><li>"])
def test_html_absurd_nesting_raises_document_corrupt(tags: str, depth: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        HtmlParser().parse(tags.encode() * depth + b"deep")
    assert caught.value.reason == "DOCUMENT_CORRUPT"
