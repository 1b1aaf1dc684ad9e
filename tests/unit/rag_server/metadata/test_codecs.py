from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from rag_server.domain.collection import CharacterChunking, Chunking, TokenChunking
from rag_server.domain.job import JobError, JobProgress
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import Metadata
from rag_server.metadata import codecs
from rag_server.metadata.types import UtcDateTime

_TIMES = st.datetimes(timezones=st.just(UTC))
_VALUES = st.one_of(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    _TIMES,
    st.lists(st.text()).map(tuple),
)


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(st.dictionaries(st.text(), _VALUES))
def test_metadata_any_comes_back_with_its_types(metadata: Metadata) -> None:
    back = codecs.metadata_from_json(_through_json(codecs.metadata_to_json(metadata)))
    assert back == metadata
    assert [type(value) for value in back.values()] == [type(value) for value in metadata.values()]


def test_metadata_double_that_the_database_gives_back_as_integer_stays_a_double() -> None:
    (value,) = codecs.metadata_from_json({"size": {"type": "double", "value": 100}}).values()
    assert isinstance(value, float)


@pytest.mark.parametrize(
    "chunking",
    [
        TokenChunking(120, 0.1),
        CharacterChunking(900, 90),
        TokenChunking(120, 0.1, page_boxes=True),
        CharacterChunking(900, 90, page_boxes=True),
    ],
)
def test_chunking_comes_back(chunking: Chunking) -> None:
    assert codecs.chunking_from_json(_through_json(codecs.chunking_to_json(chunking))) == chunking


def test_chunking_of_before_there_were_boxes_reads_and_writes_as_before() -> None:
    """Recipes are digests of it: were they others, every document would be made anew."""
    before = {"kind": "tokens", "max_tokens": 200, "overlap_ratio": 0.2}
    assert codecs.chunking_to_json(TokenChunking()) == before
    assert codecs.chunking_from_json(before) == TokenChunking()


def test_bm25_comes_back_as_doubles_even_when_the_database_makes_integers_of_them() -> None:
    bm25 = Bm25(k1=2.0, b=0.5)
    assert codecs.bm25_from_json(_through_json(codecs.bm25_to_json(bm25))) == bm25
    back = codecs.bm25_from_json({"k1": 2, "b": 0})
    assert (back, type(back.k1), type(back.b)) == (Bm25(2.0, 0.0), float, float)


def test_progress_error_and_times_come_back() -> None:
    progress = JobProgress(size_bytes=1, embedded_chunk_count=2)
    error = JobError("REASON", "text", {"a": "b"})
    time = datetime(2026, 1, 1, 12, 0, 0, 7, tzinfo=UTC)
    assert codecs.progress_from_json(_through_json(codecs.progress_to_json(progress))) == progress
    assert codecs.error_from_json(_through_json(codecs.error_to_json(error))) == error
    assert codecs.error_from_json(codecs.error_to_json(None)) is None
    assert codecs.time_from_json(codecs.time_to_json(time)) == time
    assert codecs.time_from_json(codecs.time_to_json(None)) is None


def test_stored_time_is_utc_whatever_zone_it_came_in() -> None:
    column, dialect = UtcDateTime(), sqlite.dialect()
    time = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=-5)))
    bound = column.process_bind_param(time, dialect)
    assert bound is not None
    assert (bound, bound.utcoffset()) == (time, timedelta(0))
    assert column.process_result_value(bound.replace(tzinfo=None), dialect) == time
    assert column.process_result_value(time, dialect) == time
    assert column.process_bind_param(None, dialect) is None
    assert column.process_result_value(None, dialect) is None


def test_stored_time_without_a_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())  # noqa: DTZ001  # the mistake
