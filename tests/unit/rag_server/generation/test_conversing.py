from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rag_server.app_filters import create_screen
from rag_server.config import FilterSettings
from rag_server.domain.assistant import AssistantChoice, Selection
from rag_server.domain.conversation import ConversationRef, HistoryMessage, Role, Summary, TurnInfo
from rag_server.domain.generation import (
    AskedAssistant,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Preparation,
    PromptReport,
    Repeated,
    Started,
    Usage,
)
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.errors import NotFound, RagError, Unavailable
from rag_server.generation.continuation import Continuation
from rag_server.generation.conversing import Conversing
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.filters.screen import Screen
from rag_server.generation.history import HistoryBudget, HistoryWindow
from rag_server.generation.naming import Exchange
from rag_server.generation.record import Draft
from rag_server.generation.rewriter import Rewritten
from rag_server.generation.summarising import Continued
from rag_server.generation.turn import TurnLimits, Turns
from rag_server.metadata import Database

TENANT = "acme"
SPENT = Preparation(Usage(5, 1), 0.5)
REPORT = PromptReport(9, False, 4096, (), 0, "answer/1/en", None)
REQUEST_ID = "01234567-89ab-cdef-0123-456789abcdef"


class Script:
    """Answers in place of the pipeline: what it was asked is kept."""

    def __init__(self, failure: RagError | None = None, prompt: PromptReport | None = None) -> None:
        self.requests: list[GenerationRequest] = []
        self.failure = failure
        self.prompt = prompt

    async def answer(
        self, tenant_id: str, request: GenerationRequest, **_limit: Any
    ) -> AsyncGenerator[GenerationEvent, None]:
        self.requests.append(request)
        yield Started("script", self.prompt, assistant=request.choice)
        yield Delta(f"answer {len(self.requests)}")
        if self.failure is not None:
            raise self.failure
        yield Finished(FinishReason.COMPLETE, {"generate": 3, "total": 4}, "script")


class Rewriter:
    """A `QuestionRewriter` that shows what it was given."""

    async def rewrite(
        self, request: GenerationRequest, history: Sequence[HistoryMessage], language: str, limit: Any
    ) -> Rewritten:
        return Rewritten(f"{request.question} +{len(history)} {language}", SPENT)


def encode(draft: Draft) -> bytes:
    return f"{draft.model}|{draft.question_id}|{draft.search_question}".encode()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def ref(database: Database) -> ConversationRef:
    async with database.transaction() as tx:
        return ConversationRef((await tx.conversations.create(TENANT, max_count=9)).id)


class NamedOnly:
    """Gives questions their assistants without looking any up; `none` there is not."""

    def __init__(self) -> None:
        self.histories: list[int] = []

    async def settle(
        self, tenant_id: str, request: GenerationRequest, history: Sequence[HistoryMessage] = ()
    ) -> GenerationRequest:
        assert request.assistant is not None
        self.histories.append(len(history))
        if request.assistant.name == "none":
            raise NotFound.for_resource("assistant", "none")
        choice = AssistantChoice(Selection.NAMED, request.assistant.name, 7)
        return replace(request.assistant.merged(None), conversation=request.conversation, choice=choice)


def continuation(
    max_tokens: int, screen: Screen | None = None, *, has_summaries: bool = False
) -> Continuation:
    window = HistoryWindow(lambda text: len(text.split()), HistoryBudget(50, max_tokens))
    return Continuation(window, Rewriter(), screen, has_summaries=has_summaries)


def conversing(
    database: Database,
    script: Script,
    *,
    max_tokens: int = 99,
    assistants: NamedOnly | None = None,
    titles: Any = None,
    summaries: Any = None,
) -> Conversing:
    return Conversing(
        script,  # type: ignore[arg-type]  # all that is asked of it
        Turns(database, TurnLimits(lease_s=3600.0, max_messages=100)),
        continuation(max_tokens, has_summaries=summaries is not None),
        encode,
        assistants or NamedOnly(),  # type: ignore[arg-type]  # all that is asked of it
        titles,
        summaries,
    )


def asking(question: str, ref: ConversationRef | None = None, **fields: Any) -> GenerationRequest:
    return GenerationRequest(RetrievalRequest(("books",), question), conversation=ref, **fields)


async def events_of(used: Conversing, request: GenerationRequest) -> list[Any]:
    return [event async for event in used.answer(TENANT, request)]


async def said(database: Database, ref: ConversationRef) -> list[str]:
    async with database.snapshot() as tx:
        return [each.text for each in await tx.messages.list(TENANT, ref.id, limit=99, max_bytes=10**6)]


async def test_question_that_continues_nothing_is_answered_as_it_is(database: Database) -> None:
    script = Script()
    request = asking("What is it?")
    started, *_, finished = await events_of(conversing(database, script), request)
    assert script.requests == [request]
    assert started == Started("script")
    assert finished.timings_us == {"generate": 3, "total": 4}


async def test_first_question_of_a_conversation_has_no_history(
    database: Database, ref: ConversationRef
) -> None:
    script = Script()
    started, delta, finished = await events_of(conversing(database, script), asking("¿Qué es?", ref))
    (request,) = script.requests
    assert (request.retrieval.query, request.question, request.history) == ("¿Qué es?", "¿Qué es?", ())
    assert request.language == "es"
    async with database.snapshot() as tx:
        question, answer = await tx.messages.list(TENANT, ref.id, limit=9, max_bytes=999)
    assert started.turn == TurnInfo(ref.id, question.id, answer.id, 0, 0, "")
    assert delta == Delta("answer 1")
    assert list(finished.timings_us) == ["history", "rewrite", "generate", "record", "total"]
    assert answer.answer == f"script|{question.id}|".encode()


async def test_later_question_gets_history_and_is_made_one_to_search_with(
    database: Database, ref: ConversationRef
) -> None:
    script = Script()
    used = conversing(database, script)
    await events_of(used, asking("What is it?", ref))
    started, *_ = await events_of(used, asking("Chile?", ref))
    request = script.requests[-1]
    # without a language of its own, the question has that of the one before
    assert request.retrieval.query == "Chile? +2 en"
    assert (request.question, request.language) == ("Chile?", "en")
    assert request.history == (
        HistoryMessage(Role.USER, "What is it?"),
        HistoryMessage(Role.ASSISTANT, "answer 1"),
    )
    assert started.turn.search_question == "Chile? +2 en"
    assert (started.turn.history_message_count, started.turn.history_left_out_count) == (2, 0)


async def test_history_beyond_the_budget_is_left_out_and_counted(
    database: Database, ref: ConversationRef
) -> None:
    script = Script()
    used = conversing(database, script, max_tokens=5)
    for question in ("What is one?", "What is two?"):
        await events_of(used, asking(question, ref))
    started, *_ = await events_of(used, asking("What is three?", ref))
    assert [each.text for each in script.requests[-1].history] == ["What is two?", "answer 2"]
    assert (started.turn.history_message_count, started.turn.history_left_out_count) == (2, 2)


async def test_history_given_with_the_question_is_used_and_nothing_is_stored(database: Database) -> None:
    script = Script()
    history = (HistoryMessage(Role.USER, "What is it?"), HistoryMessage(Role.ASSISTANT, "It."))
    started, *_, finished = await events_of(
        conversing(database, script), asking("And that?", history=history)
    )
    assert script.requests[0].history == history
    assert started.turn == TurnInfo(history_message_count=2, search_question="And that? +2 en")
    assert "record" not in finished.timings_us
    async with database.snapshot() as tx:
        assert await tx.conversations.list(TENANT, limit=9) == []


async def test_language_that_the_caller_chose_stays(database: Database, ref: ConversationRef) -> None:
    script = Script()
    await events_of(conversing(database, script), asking("What is it?", ref, language="es"))
    assert script.requests[0].language == "es"


@pytest.mark.parametrize(
    ("failure", "left"),
    [
        (Unavailable("EMBEDDER_UNAVAILABLE", "down"), ["What is it?"]),
        (NotFound.for_resource("collection", "books"), []),
    ],
)
async def test_answer_that_breaks_off_is_not_recorded(
    database: Database, ref: ConversationRef, failure: RagError, left: list[str]
) -> None:
    with pytest.raises(type(failure)):
        await events_of(conversing(database, Script(failure)), asking("What is it?", ref))
    assert await said(database, ref) == left
    await events_of(conversing(database, Script()), asking("What is it?", ref))
    assert await said(database, ref) == [*left, "What is it?", "answer 1"]


async def test_answer_that_is_closed_early_is_not_recorded(database: Database, ref: ConversationRef) -> None:
    used = conversing(database, Script())
    events = used.answer(TENANT, asking("What is it?", ref))
    assert isinstance(await anext(events), Started)
    await events.aclose()
    assert await said(database, ref) == ["What is it?"]
    await events_of(used, asking("What is that?", ref))


async def test_call_that_was_answered_is_not_answered_again(database: Database, ref: ConversationRef) -> None:
    script = Script()
    used = conversing(database, script)
    request = asking("What is it?", ConversationRef(ref.id, REQUEST_ID, "h"))
    await events_of(used, request)
    (repeated,) = await events_of(used, request)
    assert isinstance(repeated, Repeated)
    assert repeated.answered.answer.text == "answer 1"
    assert len(script.requests) == 1


# filters


def filtered(
    database: Database, script: Script, *, max_tokens: int = 99, summaries: Any = None, **settings: Any
) -> Conversing:
    screen = create_screen(FilterSettings(**settings), FilterCounts())
    return Conversing(
        script,  # type: ignore[arg-type]  # all that is asked of it
        Turns(database, TurnLimits(lease_s=3600.0, max_messages=100)),
        continuation(max_tokens, screen, has_summaries=summaries is not None),
        encode,
        NamedOnly(),  # type: ignore[arg-type]  # all that is asked of it
        summaries=summaries,
        screen=screen,
    )


async def test_question_is_redacted_before_it_is_stored_and_asked(
    database: Database, ref: ConversationRef
) -> None:
    script = Script()
    await events_of(conversing(database, Script()), asking("I am a@b.org", ref))
    *_, finished = await events_of(filtered(database, script, pii_question="redact"), asking("c@d.org?", ref))
    assert finished.policy == PolicyReport((Redaction(Part.QUESTION, "pii", "email", 1),))
    (request,) = script.requests
    assert request.question == "[email]?"
    assert "@" not in request.retrieval.query
    assert request.history[0].text == "I am [email]", "it is older than the filter"
    assert await said(database, ref) == ["I am a@b.org", "answer 1", "[email]?", "answer 1"]


async def test_question_that_is_refused_leaves_nothing_and_takes_no_turn(
    database: Database, ref: ConversationRef
) -> None:
    script = Script()
    events = await events_of(filtered(database, script, blocklist=["secret"]), asking("The secret?", ref))
    assert [type(event) for event in events] == [Started, Delta, Usage, Finished]
    finished = events[-1]
    assert (finished.reason, finished.model) == (FinishReason.POLICY, "")
    assert finished.policy == PolicyReport((), "blocklist", Part.QUESTION)
    assert script.requests == []
    assert await said(database, ref) == []


def with_assistant(name: str, question: str, **fields: Any) -> GenerationRequest:
    """Return a question to an assistant that searches `handbook`."""

    def merged(_: object) -> GenerationRequest:
        return GenerationRequest(RetrievalRequest(("handbook",), question), language="es", **fields)

    return GenerationRequest(RetrievalRequest((), question), assistant=AskedAssistant(name, merged), **fields)


async def test_question_is_answered_with_the_settings_of_its_assistant(database: Database) -> None:
    script = Script()
    started, *_, finished = await events_of(conversing(database, script), with_assistant("hr", "Who?"))
    (request,) = script.requests
    assert request.retrieval.collection_ids == ("handbook",)
    assert started.assistant == AssistantChoice(Selection.NAMED, "hr", 7)
    assert started.turn is None
    assert list(finished.timings_us) == ["assistant", "generate", "total"]


async def test_assistant_is_settled_with_the_history_before_the_question_is_rewritten(
    database: Database, ref: ConversationRef
) -> None:
    script, assistants = Script(), NamedOnly()
    used = conversing(database, script, assistants=assistants)
    await events_of(used, asking("One?", ref))
    started, *_, finished = await events_of(used, with_assistant("hr", "Two?", conversation=ref))
    request = script.requests[-1]
    assert assistants.histories == [2]
    assert (request.retrieval.collection_ids, request.retrieval.query) == (("handbook",), "Two? +2 ")
    assert (request.language, started.turn.history_message_count) == ("es", 2)
    assert list(finished.timings_us)[:3] == ["history", "assistant", "rewrite"]
    history = (HistoryMessage(Role.USER, "One?"),)
    await events_of(used, with_assistant("hr", "Three?", history=history))
    assert assistants.histories == [2, 1]


async def test_question_to_no_assistant_is_withdrawn_from_its_conversation(
    database: Database, ref: ConversationRef
) -> None:
    used = conversing(database, Script())
    with pytest.raises(NotFound):
        await events_of(used, with_assistant("none", "Who?", conversation=ref))
    assert await said(database, ref) == []


async def test_answer_that_was_given_before_needs_no_assistant(
    database: Database, ref: ConversationRef
) -> None:
    again = replace(ref, request_id=REQUEST_ID, body_hash="digest")
    used = conversing(database, Script())
    await events_of(used, with_assistant("hr", "Who?", conversation=again))
    (repeated,) = await events_of(used, with_assistant("none", "Who?", conversation=again))
    assert isinstance(repeated, Repeated)


async def test_conversation_is_offered_for_naming_once_after_its_first_answer(
    database: Database, ref: ConversationRef
) -> None:
    offered: list[Exchange] = []

    class Titles:
        def offer(self, exchange: Exchange) -> None:
            offered.append(exchange)

    script = Script(Unavailable("PROVIDER_FAILED", "down"))
    used = conversing(database, script, titles=Titles())
    with pytest.raises(Unavailable):
        await events_of(used, asking("What is it?", ref))
    assert not offered
    script.failure = None
    await events_of(used, asking("What is it then?", ref))
    await events_of(used, asking("Chile?", ref))
    await events_of(used, asking("Chile?", history=(HistoryMessage(Role.USER, "x"),)))
    assert offered == [Exchange(TENANT, ref.id, "What is it then?", "answer 2", "en")]


class Summaries:
    """In place of what writes summaries: what it is offered is kept."""

    def __init__(self) -> None:
        self.offered: list[Continued] = []

    def offer(self, continued: Continued) -> None:
        self.offered.append(continued)


async def test_conversation_is_offered_for_a_summary_after_each_answer(
    database: Database, ref: ConversationRef
) -> None:
    summaries, script = Summaries(), Script(Unavailable("PROVIDER_FAILED", "down"))
    used = conversing(database, script, summaries=summaries)
    with pytest.raises(Unavailable):
        await events_of(used, asking("What is it?", ref))
    assert not summaries.offered
    script.failure = None
    await events_of(used, asking("What is it then?", ref))
    await events_of(used, asking("¿Qué es?", ref))
    await events_of(used, asking("Chile?", history=(HistoryMessage(Role.USER, "x"),)))
    assert summaries.offered == [Continued(TENANT, ref.id, "en"), Continued(TENANT, ref.id, "es")]


@pytest.mark.parametrize("max_tokens", [5, 1], ids=["some told", "none told"])
async def test_summary_stands_for_messages_beyond_the_budget_and_is_counted(
    database: Database, ref: ConversationRef, max_tokens: int
) -> None:
    script = Script(prompt=REPORT)
    used = conversing(database, script, max_tokens=max_tokens, summaries=Summaries())
    for text in ("What is one?", "What is two?", "What is three?"):
        await events_of(used, asking(text, ref))
    async with database.transaction() as tx:
        await tx.summaries.put(TENANT, ref.id, "About one.", 2, expected=0)
    started, *_ = await events_of(used, asking("What is four?", ref))
    request, turn, told = script.requests[-1], started.turn, 2 if max_tokens == 5 else 0
    assert request.summary == Summary("About one.", 2)
    assert request.retrieval.query == f"What is four? +{told} en"
    assert (turn.history_message_count, turn.summarised_message_count) == (told, 2)
    assert turn.history_left_out_count == 4 - told
    script.prompt = None  # it quotes
    started, *_ = await events_of(used, asking("What is five?", ref))
    assert started.turn.summarised_message_count == 0
    assert started.turn.history_left_out_count == 8 - told


async def test_summary_that_is_older_than_the_filters_is_redacted(
    database: Database, ref: ConversationRef
) -> None:
    await events_of(conversing(database, Script()), asking("Who?", ref))
    async with database.transaction() as tx:
        await tx.summaries.put(TENANT, ref.id, "About a@b.org.", 2, expected=0)
    script = Script()
    used = filtered(database, script, max_tokens=1, summaries=Summaries(), pii_question="redact")
    await events_of(used, asking("And where?", ref))
    assert script.requests[0].summary == Summary("About [email].", 2)


async def test_summary_is_not_asked_for_while_all_is_told_or_without_a_model_for_it(
    database: Database, ref: ConversationRef
) -> None:
    script = Script(prompt=REPORT)
    used = conversing(database, script, summaries=Summaries())
    for text in ("What is one?", "What is two?"):
        await events_of(used, asking(text, ref))
    async with database.transaction() as tx:
        await tx.summaries.put(TENANT, ref.id, "About one.", 2, expected=0)
    started, *_ = await events_of(used, asking("What is three?", ref))
    assert script.requests[-1].summary is None
    assert started.turn.summarised_message_count == 0
    await events_of(conversing(database, script, max_tokens=5), asking("What is four?", ref))
    assert script.requests[-1].summary is None


async def test_what_rewriting_took_goes_on_with_the_question(
    database: Database, ref: ConversationRef
) -> None:
    script = Script()
    used = conversing(database, script)
    await events_of(used, asking("What is it?", ref))
    await events_of(used, asking("Chile?", ref, max_cost=1.0))
    assert script.requests[0].preparation == Preparation()
    assert script.requests[1].preparation == SPENT
