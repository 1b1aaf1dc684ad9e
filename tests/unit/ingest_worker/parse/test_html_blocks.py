from __future__ import annotations

from lxml import etree
from lxml import html as lxml_html

from ingest_worker.parse.html_blocks import html_blocks
from rag_server.domain.document import BlockKind


def parts(root: etree._Element) -> list[tuple[BlockKind, int, str]]:
    return [(block.kind, block.level, block.text) for block in html_blocks(root)]


def test_html_blocks_of_a_page_keep_its_structure() -> None:
    body = (
        "<div>lead in <b>bold</b> text</div><h3>Sub <i>head</i></h3>"
        "<ol><li><p>one</p>more<ul><li>in</li></ul>tail</li>stray</ol><dl><dt>term</dt><dd>said</dd></dl>"
        "<pre>a\n  b<br>c <i>d</i> e</pre><p>inline <code>x = 1</code> code</p>"
        "<table><caption>cap</caption><tr><td>x</td><td><p>y</p></td></tr><tr><td></td></tr></table>"
    )
    assert parts(lxml_html.document_fromstring(f"<html><body>{body}</body></html>")) == [
        (BlockKind.PARAGRAPH, 0, "lead in bold text"),
        (BlockKind.HEADING, 3, "Sub head"),
        (BlockKind.LIST, 0, "- one more tail\n  - in\nstray"),
        (BlockKind.LIST, 0, "- term\n- said"),
        (BlockKind.CODE, 0, "a\n  b\nc d e"),
        (BlockKind.PARAGRAPH, 0, "inline x = 1 code"),
        (BlockKind.TABLE, 0, "cap\nx | y"),
    ]


def test_html_blocks_of_an_extraction_result_keep_its_structure() -> None:
    body = (
        "<body><head rend='h1'>One</head><head>Two</head><p>line<lb/>break</p>"
        "<list rend='ul'><item>a</item></list>"
        "<table><row><cell>x</cell><cell>y</cell></row></table>"
        "<code>f()\n  g()</code><quote><p>q</p></quote></body>"
    )
    assert parts(etree.fromstring(body)) == [
        (BlockKind.HEADING, 1, "One"),
        (BlockKind.HEADING, 2, "Two"),
        (BlockKind.PARAGRAPH, 0, "line\nbreak"),
        (BlockKind.LIST, 0, "- a"),
        (BlockKind.TABLE, 0, "x | y"),
        (BlockKind.CODE, 0, "f()\n  g()"),
        (BlockKind.PARAGRAPH, 0, "q"),
    ]
