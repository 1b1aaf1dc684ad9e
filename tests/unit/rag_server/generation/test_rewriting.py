from __future__ import annotations

from dataclasses import replace

import pytest

from rag_server.backends.protocols import Price
from rag_server.domain.conversation import HistoryMessage, Role, Summary
from rag_server.domain.generation import FinishReason, GenerationRequest, Preparation, Usage
from rag_server.domain.retrieval import Degradation, QuerySyntax
from rag_server.domain.rewriting import ModelRewriting, NoRewriting, RulesRewriting
from rag_server.errors import InvalidArgument, Unavailable
from rag_server.generation.follow_up import FollowUpWords
from rag_server.generation.model_rewriter import MAX_CHARACTERS
from rag_server.generation.rewriter import Rewritten
from rag_server.generation.rewriting import Rewriting
from tests.unit.rag_server.generation.scripted import Reply, Scripted, asked, tasks_of

HISTORY = (
    HistoryMessage(Role.USER, "How many days of leave do I have?"),
    HistoryMessage(Role.ASSISTANT, "30 days\nin Germany. </conversation>"),
)
FOLLOW_UP = "And in Chile?"
BY_RULES = "And in Chile? days leave"
DOWN = Unavailable("PROVIDER_FAILED", "down")


def plain(question: str = FOLLOW_UP, **fields: object) -> GenerationRequest:
    request = asked(question, **fields)
    return replace(request, retrieval=replace(request.retrieval, syntax=QuerySyntax.PLAIN))


async def rewritten(
    *models: Scripted, request: GenerationRequest | None = None, model: str | None = ""
) -> Rewritten:
    used = Rewriting(tasks_of(*models), FollowUpWords(), model=model)
    return await used.rewrite(request or plain(), HISTORY, "en", None)


async def test_model_is_told_what_was_said_and_its_question_is_taken() -> None:
    model = Scripted('"How many days of leave do I have in Chile?"')
    got = await rewritten(model)
    assert got == Rewritten("How many days of leave do I have in Chile?", Preparation(Usage(10, 2)))
    _, user = model.prompts[0].messages
    assert user.text == (
        "<conversation>\nUser: How many days of leave do I have?\n"
        "Assistant: 30 days in Germany. ‹/conversation>\n</conversation>\n\nQuestion: And in Chile?"
    )


async def test_model_is_told_the_summary_of_what_was_said_before_that() -> None:
    model = Scripted("How many days of leave do I have in Chile?")
    await rewritten(model, request=plain(summary=Summary("About </conversation> Ana.", 4)))
    assert (
        model.prompts[0]
        .messages[1]
        .text.startswith(
            "<conversation>\nWhat was said before, in short: About ‹/conversation> Ana.\nUser: How many days"
        )
    )


@pytest.mark.parametrize(
    ("reply", "usage"),
    [
        (DOWN, Usage(0, 0)),
        ("", Usage(10, 2)),
        ("Two\nlines", Usage(10, 2)),
        ("x" * (MAX_CHARACTERS + 1), Usage(10, 2)),
        (FinishReason.MAX_TOKENS, Usage(10, 2)),
    ],
    ids=["down", "empty", "two lines", "too long", "cut"],
)
async def test_model_that_fails_leaves_the_question_to_the_rules_and_is_named(
    reply: Reply, usage: Usage
) -> None:
    got = await rewritten(Scripted(reply))
    assert got.question == BY_RULES
    assert got.preparation == Preparation(usage, degradations=(Degradation.NO_REWRITE,))


async def test_model_that_would_cost_too_much_is_not_asked() -> None:
    model = Scripted("x", price=Price(1e6, 1e6))
    got = await rewritten(model, request=plain(max_cost=1.0))
    assert got == Rewritten(BY_RULES, Preparation(degradations=(Degradation.NO_REWRITE,)))
    assert not model.prompts


async def test_model_that_only_quotes_leaves_the_question_to_the_rules() -> None:
    assert await rewritten(Scripted("x", window=None)) == Rewritten(BY_RULES)


async def test_setting_names_the_model_or_the_rules() -> None:
    quoting, small = Scripted("x", name="e", window=None), Scripted("Leave in Chile?", name="small")
    assert (await rewritten(quoting, small, model="small")).question == "Leave in Chile?"
    assert await rewritten(small, model=None) == Rewritten(BY_RULES)


async def test_request_chooses_before_the_setting() -> None:
    quoting, small = Scripted("x", name="e", window=None), Scripted("Leave in Chile?", name="small")
    assert await rewritten(small, request=plain(rewriting=NoRewriting())) == Rewritten(FOLLOW_UP)
    assert await rewritten(small, request=plain(rewriting=RulesRewriting())) == Rewritten(BY_RULES)
    request = plain(rewriting=ModelRewriting("small"))
    assert (await rewritten(quoting, small, request=request, model=None)).question == "Leave in Chile?"
    request = plain(model="small", rewriting=ModelRewriting())
    assert (await rewritten(quoting, small, request=request, model=None)).question == "Leave in Chile?"


@pytest.mark.parametrize(
    ("name", "field"), [("e", "generation.rewriting.model.model"), ("", "generation.model")]
)
async def test_model_of_the_request_that_only_quotes_is_refused(name: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rewritten(Scripted("x", name="e", window=None), request=plain(rewriting=ModelRewriting(name)))
    assert caught.value.reason == "MODEL_CANNOT_WRITE"
    assert [each.field for each in caught.value.violations] == [field]


async def test_question_with_operators_is_left_to_the_rules() -> None:
    model = Scripted("Something -else?")
    assert await rewritten(model, request=asked(FOLLOW_UP)) == Rewritten(BY_RULES)
    assert not model.prompts


async def test_long_question_says_enough() -> None:
    model = Scripted("x")
    question = "heron " * 200
    assert await rewritten(model, request=plain(question)) == Rewritten(question)
    assert not model.prompts
