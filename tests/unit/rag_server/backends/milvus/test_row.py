from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rag_server.backends.milvus.row import metadata_document
from rag_server.domain.metadata import timestamp_us


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999_999),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
    ],
)
def test_timestamp_of_a_datetime_is_exact_in_microseconds(value: datetime, expected: int) -> None:
    assert timestamp_us(value) == expected


def test_metadata_keeps_lists_apart_and_escapes_names() -> None:
    document = metadata_document(
        {"n": 1, "tags": ("a", "b"), 'x"]["y': "v", "at": datetime(1970, 1, 1, tzinfo=UTC)}
    )
    assert document == {
        "value": {"n": 1, "xz22zz5dzz5bzz22zy": "v", "at": 0},
        "list": {"tags": ["a", "b"]},
        "names": ["n", "xz22zz5dzz5bzz22zy", "at", "tags"],
    }
