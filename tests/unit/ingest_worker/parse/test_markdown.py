from __future__ import annotations

import pytest

from ingest_worker.parse import markdown
from ingest_worker.parse.markdown import MarkdownParser, heading_text
from rag_server.domain.document import BlockKind
from rag_server.errors import InvalidArgument
from tests.documents import MARKDOWN


def parts(source: str) -> list[tuple[BlockKind, int, str]]:
    parsed = MarkdownParser().parse(source.encode())
    return [(b.kind, b.level, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def test_markdown_document_yields_blocks_of_each_kind() -> None:
    assert parts(MARKDOWN) == [
        (BlockKind.HEADING, 1, "# Bees"),
        (BlockKind.PARAGRAPH, 0, "A hive holds one queen."),
        (BlockKind.HEADING, 2, "## The queen"),
        (BlockKind.LIST, 0, "- lays eggs\n- lives long"),
        (BlockKind.CODE, 0, "```python\n# not a heading\n\nqueen = 1\n```"),
        (BlockKind.HEADING, 2, "The winter\n----------"),
        (BlockKind.TABLE, 0, "| month | kilos |\n|-------|-------|\n| May   | 12    |"),
        (BlockKind.PARAGRAPH, 0, "> Bees make honey."),
        (BlockKind.PARAGRAPH, 0, "[link]: https://example.org/"),
    ]


def test_markdown_front_matter_gives_title_and_language_and_is_no_text() -> None:
    parsed = MarkdownParser().parse(MARKDOWN.encode())
    assert (parsed.title, parsed.language) == ("Keeping bees", "en")
    assert "tags" not in parsed.text


def test_markdown_without_front_matter_takes_its_title_from_the_first_heading() -> None:
    assert MarkdownParser().parse(b"intro\n\n## The **one** [link](x) ##\n\n# Two").title == "The one link"


def test_markdown_rules_around_prose_are_not_front_matter() -> None:
    assert parts("---\n\nprose without fields\n\n---\n")[1] == (
        BlockKind.PARAGRAPH,
        0,
        "prose without fields",
    )


def test_markdown_odd_language_is_ignored() -> None:
    assert MarkdownParser().parse(b"---\nlang: not a code!\n---\nwords").language == ""


def test_markdown_only_front_matter_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        MarkdownParser().parse(b"---\ntitle: x\n---\n")
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_markdown_deep_nesting_stays_text() -> None:
    source = ">" * 5000 + " deep"
    assert parts(source) == [(BlockKind.PARAGRAPH, 0, source)]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("# One", "One"),
        ("###### Six ##", "Six"),
        ("#", ""),
        ("## C#", "C#"),
        ("Two\nlines\n===", "Two lines"),
        ("plain `kept`", "plain `kept`"),
        ("# `code` and ![alt](pic.png)", "code and alt"),
    ],
)
def test_heading_text_marks_are_removed(source: str, said: str) -> None:
    assert heading_text(source) == said


@pytest.mark.parametrize(
    "source",
    [
        MARKDOWN,
        "# A\n\none\n\ntwo\n\n## B\n\n- i\n\n- j\n\n  k\n\nthree\n\n1. x\n\n2. y\n\n    z\n\nfour\n",
        "a\n\n```\nx\n\ny\n\n# no heading\n```\n\nb\n\n~~~\n\nz\n\n~~~\n\nc",
        "a\n\n```in``` line\n\n> q\n\nb\n\n|a|\n|-|\n|1|\n\nc",
    ],
)
def test_markdown_in_parts_has_the_blocks_of_the_whole(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    whole = MarkdownParser().parse(source.encode())
    monkeypatch.setattr(markdown, "_PART_CHARACTERS", 1)
    assert len(list(markdown._parts(whole.text))) > 2
    assert MarkdownParser().parse(source.encode()) == whole
