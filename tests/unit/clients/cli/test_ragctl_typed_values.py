from __future__ import annotations

import contextlib

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.v1.chunking_pb2 import Chunking
from ragctl import chunking_option
from ragctl.typed_values import guessed, metadata, shown, typed


def test_metadata_pairs_become_typed_values() -> None:
    values = metadata(
        [
            "a=x=y",
            "n:int=5",
            "f:float=1.5",
            "b:bool=Yes",
            "t:time=2026-01-31T09:30:00+02:00",
            "l:list=x, y",
            "e=",
        ]
    )
    assert {key: json_format.MessageToDict(value) for key, value in values.items()} == {
        "a": {"stringValue": "x=y"},
        "n": {"integerValue": "5"},
        "f": {"doubleValue": 1.5},
        "b": {"booleanValue": True},
        "t": {"timestampValue": "2026-01-31T07:30:00Z"},
        "l": {"stringListValue": {"values": ["x", "y"]}},
        "e": {"stringValue": ""},
    }


@pytest.mark.parametrize(
    "pair",
    [
        "novalue",
        "=x",
        "1a=x",
        "a b=x",
        "a:int=1.5",
        "a:int=9223372036854775808",
        "a:float=nan",
        "a:float=1e999",
        "a:bool=maybe",
        "a:time=soon",
        "a:=x",
        "a:color=red",
    ],
)
def test_metadata_pair_that_is_malformed_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        metadata([pair])


def test_metadata_key_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        metadata(["a=1", "a:int=2"])


def test_value_shown_reads_like_its_option() -> None:
    pairs = [("str", "x"), ("int", "5"), ("float", "1.5"), ("bool", "true"), ("list", "x, y")]
    assert [shown(typed(name, text)) for name, text in pairs] == [text for _, text in pairs]
    assert shown(typed("time", "2026-01-31")) == "2026-01-31T00:00:00+00:00"
    assert shown(type(typed("str", ""))()) == ""


@settings(deadline=None)
@given(st.text())
def test_value_guessed_takes_any_text_or_says_why_not(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert guessed(text).WhichOneof("kind") is not None


@pytest.mark.parametrize(
    "text",
    [
        "tokens",
        "tokens:200",
        "tokens:200:0.2",
        "characters:2000:400",
        "characters",
        "tokens+boxes",
        "characters:500+boxes",
    ],
)
def test_chunking_option_round_trips(text: str) -> None:
    parsed = chunking_option.parse_chunking(text)
    assert parsed is not None
    assert chunking_option.shown(parsed) == text


def test_chunking_option_leaves_out_what_was_not_given() -> None:
    parsed = chunking_option.parse_chunking("tokens:64")
    assert parsed is not None
    assert parsed.tokens.max_tokens == 64
    assert not parsed.tokens.HasField("overlap_ratio")
    assert chunking_option.parse_chunking("") is None
    assert chunking_option.shown(Chunking()) == ""
    assert chunking_option.shown(Chunking(page_boxes=True)) == "tokens+boxes"


@pytest.mark.parametrize(
    "text",
    [
        "lines",
        "tokens:x",
        "tokens:1:2:3",
        "characters:1.5",
        ":",
        "tokens:99999999999",
        "+boxes",
        "tokens+box",
    ],
)
def test_chunking_option_that_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        chunking_option.parse_chunking(text)
