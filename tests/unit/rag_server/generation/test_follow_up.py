from __future__ import annotations

import pytest

from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.generation.follow_up import MAX_WORDS, FollowUpWords

LEAVE = "How many days of leave do I have?"
VACATION = "¿Cuántos días de vacaciones tengo?"


def asked(*questions: str) -> list[HistoryMessage]:
    """Return a history in which each question was answered."""
    return [
        message
        for question in questions
        for message in (
            HistoryMessage(Role.USER, question),
            HistoryMessage(Role.ASSISTANT, "Words of answers, zeppelins say, are not taken over."),
        )
    ]


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("And in Chile?", "en"),
        ("Why?", "en"),
        ("How long does it take?", "en"),
        ("Can I sell them to other colleagues?", "en"),
        ("What about part-time employees?", "en"),
        ("¿Y en Chile?", "es"),
        ("¿Por qué?", "es"),
        ("¿Cuánto cuesta eso?", "es"),
        ("¿Quién es su autor?", "es"),
        ("Chile?", ""),
    ],
)
def test_question_that_leaves_something_unsaid_is_told_apart(question: str, language: str) -> None:
    assert FollowUpWords().says_too_little(question, language)


@pytest.mark.parametrize(
    ("question", "language"),
    [
        (LEAVE, "en"),
        ("Who designed the Eiffel tower?", "en"),
        ("And how much does express shipping of two parcels to Valparaíso cost?", "en"),
        ("Does the warranty cover batteries that were damaged by water?", "en"),
        (VACATION, "es"),
        ("¿Quién diseñó la torre Eiffel?", "es"),
        ("¿El despacho a regiones tiene costo?", "es"),
    ],
)
def test_question_that_says_enough_is_told_apart(question: str, language: str) -> None:
    assert not FollowUpWords().says_too_little(question, language)


@pytest.mark.parametrize(
    ("history", "question", "language", "expected"),
    [
        (asked(LEAVE), "And in Chile?", "en", "And in Chile? days leave"),
        (asked(VACATION), "¿Y en Chile?", "es", "¿Y en Chile? días vacaciones tengo"),
        (asked(LEAVE, "And in Chile?"), "And in Peru?", "en", "And in Peru? Chile days leave"),
        (asked("Who designed the tower?", LEAVE), "And in Chile?", "en", "And in Chile? days leave"),
        (asked(LEAVE), "And which days?", "en", "And which days? leave"),
        (asked(LEAVE), "Who designed the Eiffel tower?", "en", "Who designed the Eiffel tower?"),
    ],
)
async def test_rewrite_takes_over_words_back_to_a_question_that_says_enough(
    history: list[HistoryMessage], question: str, language: str, expected: str
) -> None:
    assert await FollowUpWords().rewrite(question, history, language) == expected


async def test_rewrite_takes_over_no_more_words_than_it_may_of_no_more_questions() -> None:
    long = " ".join(f"word{number}" for number in range(30))
    rewritten = await FollowUpWords().rewrite("Why?", asked(long), "en")
    assert len(rewritten.split()) == 1 + MAX_WORDS
    rewritten = await FollowUpWords().rewrite("Why?", asked("Oldest?", "Third?", "Second?", "First?"), "en")
    assert "Oldest" not in rewritten


async def test_rewrite_without_earlier_questions_leaves_the_question() -> None:
    greeting = [HistoryMessage(Role.ASSISTANT, "Hello, zeppelin fan.")]
    assert await FollowUpWords().rewrite("Why?", greeting, "en") == "Why?"
