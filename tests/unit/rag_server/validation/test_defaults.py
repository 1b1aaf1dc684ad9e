from __future__ import annotations

import pytest

from rag.v1 import chunking_pb2, options_pb2
from rag_server.validation import value_or_default


def test_value_or_default_of_an_absent_field_is_the_default() -> None:
    assert value_or_default(options_pb2.RetrievalOptions(), "top_k") == 10


def test_value_or_default_of_a_set_field_is_its_value() -> None:
    assert value_or_default(options_pb2.RetrievalOptions(top_k=4), "top_k") == 4


def test_value_or_default_of_a_field_set_to_zero_is_zero() -> None:
    assert value_or_default(chunking_pb2.TokenChunking(overlap_ratio=0), "overlap_ratio") == 0


def test_value_or_default_of_a_field_without_default_raises() -> None:
    with pytest.raises(KeyError):
        value_or_default(options_pb2.RetrievalOptions(), "filter")


def test_value_or_default_of_an_unknown_field_raises() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        value_or_default(options_pb2.RetrievalOptions(), "nonsense")
