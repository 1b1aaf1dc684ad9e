from __future__ import annotations

from rag.v1 import generate_service_pb2 as pb
from rag_server.validation import validate

QUESTION = {"collection_ids": ["docs"], "question": "x"}


def test_cursor_of_a_resumable_answer_passes() -> None:
    assert validate(pb.StreamGenerateRequest(**QUESTION, resume_window_ms=1000, resume_cursor="x.1")) == []


def test_cursor_without_a_window_is_refused() -> None:
    (found,) = validate(pb.StreamGenerateRequest(**QUESTION, resume_cursor="x.1"))
    assert found.field == "resume_cursor"
