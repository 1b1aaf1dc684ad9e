from __future__ import annotations

from rag.v1 import policy_pb2 as pb
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.services.wire.policy import to_policy


def test_report_that_says_nothing_is_absent() -> None:
    assert to_policy(None) is None
    assert to_policy(PolicyReport()) is None


def test_redactions_are_told_part_by_part() -> None:
    redactions = tuple(Redaction(part, "pii", "email", index) for index, part in enumerate(Part, 1))
    message = to_policy(PolicyReport(redactions))
    assert message is not None
    assert not message.refused_by
    assert [(each.part, each.filter, each.kind, each.count) for each in message.redactions] == [
        (pb.FILTERED_PART_QUESTION, "pii", "email", 1),
        (pb.FILTERED_PART_HISTORY, "pii", "email", 2),
        (pb.FILTERED_PART_SOURCES, "pii", "email", 3),
        (pb.FILTERED_PART_ANSWER, "pii", "email", 4),
    ]


def test_refusal_names_the_filter_and_the_part() -> None:
    message = to_policy(PolicyReport((), "blocklist", Part.QUESTION))
    assert message == pb.PolicyReport(
        refused_by="blocklist",
        refused_part=pb.FILTERED_PART_QUESTION,
        message="the filter 'blocklist' refuses the question",
    )
