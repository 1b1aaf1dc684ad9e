"""Conditions over several fields of the messages that ask for grounding.

`custom.CHECKS` says which of them holds for which message.
"""

from __future__ import annotations

from collections.abc import Iterator

from rag.v1 import grounding_pb2
from rag_server.validation.finding import Finding, repetitions


def text_is_not_blank(message: grounding_pb2.CheckGroundingRequest) -> Iterator[Finding]:
    """`text` is more than white space."""
    if message.text and not message.text.strip():
        yield Finding("text", "is only white space")


def chunks_are_distinct(message: grounding_pb2.GroundingChunks) -> Iterator[Finding]:
    """No chunk is named twice."""
    for index in repetitions(message.chunk_ids):
        yield Finding(f"chunk_ids[{index}]", "repeats an earlier chunk")
