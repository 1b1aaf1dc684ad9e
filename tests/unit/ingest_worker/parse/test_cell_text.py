from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest

from ingest_worker.parse.cell_text import cell_text


@pytest.mark.parametrize(
    ("value", "number_format", "said"),
    [
        (None, "General", ""),
        ("text", "General", "text"),
        (True, "General", "TRUE"),
        (3, "General", "3"),
        (3.0, "General", "3"),
        (0.1 + 0.2, "General", "0.3"),
        (1e300, "General", "1e+300"),
        (1234.5, "#,##0.00", "1234.50"),
        (1234.5, '"$"#,##0.0_);(#,##0)', "1234.5"),
        (2.0, "0", "2"),
        (1.23456, "0.00E+00", "1.23456"),
        (0.5, "# ?/?", "0.5"),
        (0.126, "0%", "13%"),
        (0.125, "0.00%", "12.50%"),
        (7, "[Red]0.0", "7.0"),
        (7.5, "0.0##", "7.5"),
        (7, "0.##", "7"),
        (120, "#,##0", "120"),
        (date(2024, 5, 1), "General", "2024-05-01"),
        (datetime(2024, 5, 1), "General", "2024-05-01"),  # noqa: DTZ001 - a sheet has no zones
        (datetime(2024, 5, 1, 9, 5), "General", "2024-05-01 09:05"),  # noqa: DTZ001
        (datetime(2024, 5, 1, 9, 5, 7, 9), "General", "2024-05-01 09:05:07"),  # noqa: DTZ001
        (time(9, 5), "h:mm", "09:05"),
        (time(9, 5, 7), "h:mm:ss", "09:05:07"),
        (timedelta(hours=30, minutes=2, seconds=3), "[h]:mm:ss", "30:02:03"),
        ("#DIV/0!", "General", "#DIV/0!"),
    ],
)
def test_cell_text_reads_as_the_sheet_shows_it(value: object, number_format: str, said: str) -> None:
    assert cell_text(value, number_format) == said
