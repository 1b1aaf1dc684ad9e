from __future__ import annotations

from rag_server.domain.document import Span
from rag_server.domain.expansion import SearchedWith
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    Finished,
    FinishReason,
    Retrieved,
    Started,
    Usage,
)
from rag_server.domain.grounding import Grounding, SentenceGrounding
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.domain.retrieval import Degradation, ScoreScale
from rag_server.generation.record import Draft

RETRIEVED = Retrieved((), ScoreScale.RRF, (), {})
SEARCHED = SearchedWith("m", ("search", "seek"))
GROUNDING = Grounding((SentenceGrounding(Span(0, 2), 0.5),))
REDACTED = Redaction(Part.QUESTION, "pii", "email", 1)
WITHHELD = Redaction(Part.ANSWER, "pii", "phone", 2)
CITATION = Citation(0, Span(0, 1), Span(0, 1), "a")


def test_draft_collects_what_an_answer_is_made_of() -> None:
    draft = Draft("q", "search", PolicyReport((REDACTED,)))
    events = [
        Started("m", searched=SEARCHED),
        RETRIEVED,
        Delta("a"),
        Cited(CITATION),
        Delta("b"),
        Usage(1, 2),
    ]
    finished = Finished(
        FinishReason.COMPLETE,
        {},
        "n",
        (Degradation.FALLBACK_MODEL,),
        grounding=GROUNDING,
        policy=PolicyReport((WITHHELD,)),
    )
    for event in [*events, finished]:
        draft.add(event)
    # the model is the one that answered in the end
    assert (draft.question_id, draft.search_question, draft.model) == ("q", "search", "n")
    assert draft.degradations == (Degradation.FALLBACK_MODEL,)
    assert (draft.text, draft.retrieved, draft.citations) == ("ab", RETRIEVED, [CITATION])
    assert (draft.usage, draft.finish_reason) == (Usage(1, 2), FinishReason.COMPLETE)
    assert (draft.searched, draft.grounding) == (SEARCHED, GROUNDING)
    # filters of the question come before those of the answer
    assert draft.policy == PolicyReport((REDACTED, WITHHELD))


def test_draft_replaces_what_a_database_cannot_store() -> None:
    draft = Draft()
    draft.add(Delta("a\0b"))
    assert draft.text == "a\ufffdb"
