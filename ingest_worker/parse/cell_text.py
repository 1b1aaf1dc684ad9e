"""Values of spreadsheet cells as a reader of the sheet sees them, in one notation for all languages."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
"""Parts of a number format that say nothing of the digits: texts, colours, conditions, padding."""
_DIGITS = re.compile(r"[0#?][0#?,]*(?:\.([0#?]+))?")
_EXACT_INTEGERS = 1e15
_SIGNIFICANT = 12
"""Digits of a number without a format: as many as a sheet shows, and none that only rounding put there."""
_MAX_DECIMALS = 10


def cell_text(value: object, number_format: str = "General") -> str:
    """Return what a cell says.

    Dates are ISO 8601, decimals as many as `number_format` shows (ECMA-376, 18.8.31), thousands not grouped,
    since a number is looked for by its digits.
    """
    match value:
        case None:
            said = ""
        case bool():
            said = str(value).upper()
        case int() | float():
            said = _number(value, number_format)
        case datetime():  # which is a date, too
            said = _moment(value)
        case date():
            said = value.isoformat()
        case time():
            said = value.isoformat("seconds" if value.second else "minutes")
        case timedelta():
            said = _duration(value)
        case _:
            said = str(value)
    return said


def _moment(value: datetime) -> str:
    if value.time() == time():
        return value.date().isoformat()
    return value.replace(microsecond=0).isoformat(" ", "seconds" if value.second else "minutes")


def _duration(value: timedelta) -> str:
    minutes, seconds = divmod(round(value.total_seconds()), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _number(value: float, number_format: str) -> str:
    shown = _QUOTED.sub("", number_format.partition(";")[0])
    digits = _DIGITS.search(shown)
    if "%" in shown:
        return _rounded(value * 100, digits) + "%"
    if digits and shown != "General" and "e" not in shown.lower() and "/" not in shown:
        return _rounded(value, digits)
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return str(int(value))
    return f"{value:.{_SIGNIFICANT}g}"


def _rounded(value: float, digits: re.Match[str] | None) -> str:
    """Return `value` with the decimals of a number format; `#` stands for one that a zero leaves out."""
    places = (digits[1] or "")[:_MAX_DECIMALS] if digits else ""
    said = f"{value:.{len(places)}f}"
    for place in reversed(places):
        if place == "0" or not said.endswith("0"):
            return said
        said = said[:-1]
    return said.removesuffix(".")
