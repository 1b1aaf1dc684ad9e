from __future__ import annotations

import pytest
from lxml import etree
from lxml import html as lxml_html

from ingest_worker.parse import limits
from ingest_worker.parse.html_blocks import html_blocks
from rag_server.domain.document import BlockKind
from rag_server.errors import ResourceExhausted


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
        (BlockKind.PARAGRAPH, 0, "cap"),
        (BlockKind.TABLE, 0, "| x | y |\n| --- | --- |"),
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
        (BlockKind.TABLE, 0, "| x | y |\n| --- | --- |"),
        (BlockKind.CODE, 0, "f()\n  g()"),
        (BlockKind.PARAGRAPH, 0, "q"),
    ]


def table(rows: str) -> list[tuple[BlockKind, int, str]]:
    return parts(lxml_html.document_fromstring(f"<html><body><table>{rows}</table></body></html>"))


def test_html_blocks_spanning_cells_keep_columns_aligned_and_rows_whole() -> None:
    rows = (
        "<thead><tr><th rowspan=2>k</th><th colspan=2>wide</th></tr><tr><th>x</th><th>y</th></tr></thead>"
        "<tr><td rowspan=2>tall</td><td colspan=2>a|b</td></tr><tr><td>c</td><td>d</td></tr>"
    )
    assert table(rows) == [
        (
            BlockKind.TABLE,
            0,
            "| k | wide | wide |\n| --- | --- | --- |\n| k | x | y |\n"
            "| tall | a\\|b | a\\|b |\n| tall | c | d |",
        )
    ]


def test_html_blocks_tables_that_lay_out_a_page_are_looked_through() -> None:
    inner = "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>"
    assert table(f"<tr><td><h2>Head</h2><p>text</p>{inner}</td><td>aside</td></tr>") == [
        (BlockKind.HEADING, 2, "Head"),
        (BlockKind.PARAGRAPH, 0, "text"),
        (BlockKind.TABLE, 0, "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        (BlockKind.PARAGRAPH, 0, "aside"),
    ]


def test_html_blocks_spans_beyond_the_limit_raise_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = f"<tr><td rowspan=100>{'x' * 1000}</td><td>y</td></tr>" + "<tr><td>y</td></tr>" * 99
    assert len(table(rows)[0][2]) > 100_000
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 50_000)
    with pytest.raises(ResourceExhausted):
        table(rows)
