"""What filters did, as the contract tells it."""

from __future__ import annotations

from rag.v1 import policy_pb2 as pb
from rag_server.domain.policy import Part, PolicyReport

_PARTS = {
    Part.QUESTION: pb.FILTERED_PART_QUESTION,
    Part.HISTORY: pb.FILTERED_PART_HISTORY,
    Part.SOURCES: pb.FILTERED_PART_SOURCES,
    Part.ANSWER: pb.FILTERED_PART_ANSWER,
}


def to_policy(report: PolicyReport | None) -> pb.PolicyReport | None:
    """Return a report as a message; None: there is nothing to tell."""
    if not report:
        return None
    message = pb.PolicyReport(
        redactions=[
            pb.Redaction(part=_PARTS[each.part], filter=each.filter, kind=each.kind, count=each.count)
            for each in report.redactions
        ]
    )
    if report.refused_part is not None:
        message.refused_by = report.refused_by
        message.refused_part = _PARTS[report.refused_part]
        message.message = f"the filter {report.refused_by!r} refuses the {report.refused_part.value}"
    return message
