"""Conditions over the options of retrieval and of expansion together.

`custom.CHECKS` says which of them holds for which message.
"""

from __future__ import annotations

from collections.abc import Iterator

from rag.v1 import generate_service_pb2
from rag_server.validation.defaults import value_or_default
from rag_server.validation.finding import Finding
from rag_server.validation.retrieval_conditions import DEFAULT_FUSION, MAX_BATCH_CANDIDATES

_Question = generate_service_pb2.GenerateRequest | generate_service_pb2.StreamGenerateRequest


def hyde_has_a_dense_leg(message: _Question) -> Iterator[Finding]:
    """Passages that are made up help the vectors alone."""
    fusion = message.retrieval.fusion
    parameters = getattr(fusion, fusion.WhichOneof("method") or DEFAULT_FUSION)
    if message.generation.expansion.HasField("hyde") and not value_or_default(parameters, "dense_weight"):
        yield Finding("generation.expansion.hyde", "needs the dense leg, whose weight is 0")


def candidates_are_bounded(message: _Question) -> Iterator[Finding]:
    """Each query of an expansion has candidates of its own; all together have the limit of a batch."""
    expansion = message.generation.expansion
    match expansion.WhichOneof("method"):
        case "multi_query":
            query_count = 1 + value_or_default(expansion.multi_query, "query_count")
        case "decomposition":
            query_count = 1 + value_or_default(expansion.decomposition, "max_query_count")
        case _:
            return
    candidates = int(value_or_default(message.retrieval, "candidate_count"))
    count = query_count * candidates * len(message.collection_ids)
    if count > MAX_BATCH_CANDIDATES:
        yield Finding(
            "retrieval.candidate_count",
            f"times {query_count} queries and the number of collections is {count}, the maximum is "
            f"{MAX_BATCH_CANDIDATES}",
        )
