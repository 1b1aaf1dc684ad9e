"""Validates a request: every constraint of the contract, found in one walk."""

from __future__ import annotations

from google.protobuf.message import Message

from rag_server.errors import FieldViolation, InvalidArgument
from rag_server.validation.plan import walk_root
from rag_server.validation.report import Report, ReportFullError


def validate(message: Message) -> list[FieldViolation]:
    """Return what is wrong with a request: nothing, or up to `report.MAX_VIOLATIONS` violations."""
    return _report_on(message).violations


def check(message: Message) -> None:
    """Refuse a request that breaks the contract.

    Raises:
        InvalidArgument: With every violation found. The reason is FILTER_TOO_DEEP or
            FILTER_TOO_LARGE where that is all that is wrong, else INVALID_REQUEST.
    """
    report = _report_on(message)
    if not report.violations:
        return
    first, *others = report.violations
    where = first.field or message.DESCRIPTOR.name
    more = f" (and {len(others)} more)" if others else ""
    raise InvalidArgument(report.reason, f"{where}: {first.description}{more}", violations=report.violations)


def _report_on(message: Message) -> Report:
    report = Report()
    try:
        walk_root(message, report)
    except ReportFullError:
        return report  # the walk ended early: what was found so far is the answer
    return report
