"""What becomes of a table whose rows cannot be taken."""

from __future__ import annotations

from rag_server.domain.document import ParsedDocument
from rag_server.errors import InvalidArgument


def check_records(parsed: ParsedDocument) -> None:
    """Raise `InvalidArgument` (`RECORDS_ALL_INVALID`) for a table of which no row can be taken."""
    records = parsed.records
    if records is None or not records.failed_count or records.taken:
        return
    raise InvalidArgument(
        "RECORDS_ALL_INVALID",
        f"none of {records.failed_count} rows can be taken; the first: {records.errors[0].message}",
        metadata={"failed_item_count": str(records.failed_count)},
    )
