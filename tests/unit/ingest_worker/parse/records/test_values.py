from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingest_worker.parse.records.table import Cell
from ingest_worker.parse.records.values import MAX_LIST_ITEMS, MAX_TEXT_CHARACTERS, typed_value
from rag_server.domain.metadata import MetadataType
from rag_server.domain.records import RecordField

T = MetadataType


def typed(value: Any, kind: MetadataType, **options: Any) -> Any:
    return typed_value(Cell(value), RecordField("c", "c", kind, **options))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("-12", T.INTEGER, -12),
        (str(2**63 - 1), T.INTEGER, 2**63 - 1),
        (7.0, T.INTEGER, 7),
        ("12.5e1", T.DOUBLE, 125.0),
        (".5", T.DOUBLE, 0.5),
        (3, T.DOUBLE, 3.0),
        ("YES", T.BOOLEAN, True),
        (False, T.BOOLEAN, False),
        (0, T.BOOLEAN, False),
        ("2026-01-31", T.TIMESTAMP, datetime(2026, 1, 31, tzinfo=UTC)),
        (date(2026, 1, 31), T.TIMESTAMP, datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T10:00:00-05:00", T.TIMESTAMP, datetime(2026, 1, 31, 15, tzinfo=UTC)),
        (1.5, T.STRING, "1.5"),
        ("red; blue ;", T.STRING_LIST, ("red", "blue")),
        (["red;", "", "blue"], T.STRING_LIST, ("red;", "blue")),
    ],
)
def test_value_has_its_fields_type(value: Any, kind: MetadataType, expected: Any) -> None:
    found = typed(value, kind)
    assert found == expected
    assert type(found) is type(expected)


def test_list_is_parted_at_its_own_separator() -> None:
    assert typed("red; dark|blue", T.STRING_LIST, separator="|") == ("red; dark", "blue")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1.0", T.INTEGER),
        (str(2**63), T.INTEGER),
        (1.5, T.INTEGER),
        (True, T.INTEGER),
        ("٣", T.INTEGER),
        (1e300, T.INTEGER),
        ("nan", T.DOUBLE),
        ("1e999", T.DOUBLE),
        (float("inf"), T.DOUBLE),
        (10**400, T.DOUBLE),
        ("12,5", T.DOUBLE),
        (True, T.DOUBLE),
        ("maybe", T.BOOLEAN),
        ("yesterday", T.TIMESTAMP),
        (45_000, T.TIMESTAMP),
        ("0001-01-01T00:00:00+14:00", T.TIMESTAMP),
        ("x" * (MAX_TEXT_CHARACTERS + 1), T.STRING),
        (["x"] * (MAX_LIST_ITEMS + 1), T.STRING_LIST),
    ],
)
def test_value_of_another_type_is_refused(value: Any, kind: MetadataType) -> None:
    with pytest.raises(ValueError, match=r"a|true"):
        typed(value, kind)


def test_text_that_cannot_be_stored_is_mended() -> None:
    assert typed(["a\ud800b\x00"], T.STRING_LIST) == ("ab",)
