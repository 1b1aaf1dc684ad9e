from __future__ import annotations

import json
import sys
from typing import Any

import grpc
import pytest

from rag.v1.assistant_pb2 import AssistantChoice, AssistantSelection
from rag.v1.chunk_pb2 import Chunk, Span
from rag.v1.conversation_pb2 import MessageRole, Turn
from rag.v1.conversation_service_pb2 import Conversation, Message, MessageAnswer
from rag.v1.expansion_pb2 import SearchedWith
from rag.v1.generate_service_pb2 import (
    AnswerDelta,
    Citation,
    CitationOrigin,
    FinishReason,
    GenerationFinished,
    GenerationStarted,
    StreamGenerateResponse,
)
from rag.v1.grounding_pb2 import Grounding
from rag.v1.options_pb2 import AnswerCaching
from rag.v1.policy_pb2 import FilteredPart, PolicyReport, Redaction
from rag.v1.retrieved_chunk_pb2 import Degradation, RetrievedChunk
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

TEXT = "Charge it with USB."


def _events() -> list[StreamGenerateResponse]:
    finished = GenerationFinished(reason=FinishReason.FINISH_REASON_COMPLETE)
    return [
        StreamGenerateResponse(started=GenerationStarted(model="extractive")),
        StreamGenerateResponse(delta=AnswerDelta(text=TEXT)),
        StreamGenerateResponse(finished=finished),
    ]


@pytest.fixture
def talk(rag: FakeRag) -> str:
    rag.conversations["talk-7"] = Conversation(
        id="talk-7", title="Power\x1b[2J", message_count=2, language="en"
    )
    return "talk-7"


@pytest.fixture
def spoken(rag: FakeRag) -> None:
    citation = Citation(source_index=0, answer_span=Span(start=0, end=len(TEXT)), quote="with USB")
    answer = MessageAnswer(
        citations=[citation], sources=[RetrievedChunk(chunk=Chunk(document_id="one.md", title="One"))]
    )
    rag.messages = [
        Message(id="m1", role=MessageRole.MESSAGE_ROLE_USER, text="how?"),
        Message(id="m2", role=MessageRole.MESSAGE_ROLE_ASSISTANT, text=TEXT, answer=answer),
    ]


def test_chat_begins_a_conversation_and_says_how_to_go_on(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    result = run("chat", "how?", "-c", "docs", "--title", "Power")
    assert result.exit_code == 0
    assert TEXT in result.stdout
    assert "--conversation talk-0" in result.stderr
    (create,), (asked,) = rag.calls["CreateConversation"], rag.calls["StreamGenerate"]
    assert (create.conversation.title, bool(create.request_id)) == ("Power", True)
    assert (asked.question, asked.conversation_id, asked.collection_ids) == ("how?", "talk-0", ["docs"])
    assert asked.request_id


def test_chat_asks_all_questions_of_standard_input_in_one_conversation(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    result = run("chat", "-c", "docs", input="one?\ntwo?\n")
    assert result.exit_code == 0
    assert len(rag.calls["CreateConversation"]) == 1
    asked = rag.calls["StreamGenerate"]
    assert [(each.question, each.conversation_id) for each in asked] == [
        ("one?", "talk-0"),
        ("two?", "talk-0"),
    ]
    assert len({each.request_id for each in asked}) == 2


def test_chat_continues_the_conversation_that_is_named(run: Any, rag: FakeRag, talk: str) -> None:
    rag.events = _events()
    result = run("chat", "how?", "-c", "docs", "--conversation", talk)
    assert result.exit_code == 0
    assert "2 messages so far" in result.stderr
    assert "\x1b" not in result.stderr
    assert not rag.calls["CreateConversation"]
    assert rag.calls["StreamGenerate"][0].conversation_id == talk


def test_chat_sends_its_options(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    options = ("--sources", "3", "--max-tokens", "9", "--language", "es", "--filter", "year>=2025")
    assert run("chat", "how?", "-c", "docs", *options).exit_code == 0
    (asked,) = rag.calls["StreamGenerate"]
    assert (asked.retrieval.top_k, asked.generation.max_answer_tokens) == (3, 9)
    assert asked.generation.language == "es"
    assert asked.retrieval.HasField("filter")


def test_chat_chooses_the_model_its_grounding_and_does_without_the_cache(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    options = ("--model", "fast", "--temperature", "0.5", "--min-grounding", "0", "--no-cache")
    assert run("chat", "how?", "-c", "docs", *options).exit_code == 0
    generation = rag.calls["StreamGenerate"][0].generation
    assert (generation.model, generation.temperature) == ("fast", 0.5)
    assert generation.grounding.HasField("min_score")
    assert generation.grounding.min_score == 0
    assert generation.cache == AnswerCaching.ANSWER_CACHING_BYPASSED


def test_chat_tells_what_stands_for_older_messages_and_how_far_the_sources_go(run: Any, rag: FakeRag) -> None:
    turn = Turn(history_message_count=4, summarised_message_count=6, history_left_out_count=1)
    rag.events = _events()
    rag.events[0].started.turn.CopyFrom(turn)
    rag.events[-1].finished.grounding.CopyFrom(Grounding(score=0.75, supported_share=1.0))
    rag.events[-1].finished.prompt.left_out_message_count = 2
    assert run("chat", "how?", "-c", "docs").stdout.splitlines()[:4] == [
        "history: 4 messages, a summary of 6 older ones, 1 left out",
        TEXT,
        "2 of the earlier messages did not fit the model's window.",
        "grounding 0.75; 100% of the sentences supported",
    ]


def test_chat_does_not_speak_of_a_history_that_is_told_whole(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    rag.events[0].started.turn.CopyFrom(Turn(history_message_count=4))
    assert "history" not in run("chat", "how?", "-c", "docs").stdout


def test_chat_in_an_absent_conversation_asks_nothing(run: Any, rag: FakeRag) -> None:
    result = run("chat", "how?", "-c", "docs", "--conversation", "gone")
    assert result.exit_code == 1
    assert "CONVERSATION_NOT_FOUND" in result.stderr
    assert not rag.calls["StreamGenerate"]


def test_chat_without_a_question_begins_nothing(run: Any, rag: FakeRag) -> None:
    assert run("chat", "-c", "docs", input="").exit_code == 2
    assert not rag.calls["CreateConversation"]


def test_chat_with_a_title_for_a_conversation_that_exists_is_wrong_usage(run: Any, talk: str) -> None:
    assert run("chat", "how?", "-c", "docs", "--conversation", talk, "--title", "x").exit_code == 2


def test_chat_that_is_refused_ends_with_the_server_s_advice(run: Any, rag: FakeRag) -> None:
    busy = refusal(grpc.StatusCode.UNAVAILABLE, "busy", reason="CONVERSATION_BUSY", retry_after_s=0.5)
    rag.refusals["StreamGenerate"].append(busy)
    result = run("chat", "-c", "docs", input="one?\ntwo?\n")
    assert result.exit_code == 1
    assert "CONVERSATION_BUSY" in result.stderr
    assert "try again in 0.5 s" in result.stderr
    assert len(rag.calls["StreamGenerate"]) == 1


def test_chat_at_a_prompt_goes_on_after_a_failed_call(
    run: Any, rag: FakeRag, monkeypatch: pytest.MonkeyPatch
) -> None:
    rag.events = _events()
    rag.refusals["StreamGenerate"].append(
        refusal(grpc.StatusCode.UNAVAILABLE, "busy", reason="CONVERSATION_BUSY")
    )

    class Terminal:
        def __init__(self) -> None:
            self.lines = ["one?\n", "two?\n", ""]

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.lines.pop(0)

    # The runner replaces standard input itself, so the commands' own name for it is replaced.
    system = type("System", (), {"stdin": Terminal(), "stdout": sys.stdout})
    for module in ("ragctl.ask.sys", "ragctl.chat.sys"):
        monkeypatch.setattr(module, system)
    result = run("chat", "-c", "docs")
    assert result.exit_code == 0
    assert "CONVERSATION_BUSY" in result.stderr
    assert TEXT in result.stdout


def test_chat_as_json_writes_a_line_per_event(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    result = run("chat", "how?", "-c", "docs", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [next(iter(line)) for line in lines] == ["started", "delta", "finished"]


def test_conversations_list_shows_a_page_and_how_to_get_the_next(
    run: Any, json_of: Any, rag: FakeRag, talk: str
) -> None:
    rag.conversations["talk-8"] = Conversation(id="talk-8")
    result = run("conversations", "list", "--limit", "1")
    assert "talk-7" in result.stdout
    assert "talk-8" not in result.stdout
    assert "\x1b" not in result.stdout
    assert "--page-token 1" in result.stderr
    everything = json_of(run("conversations", "list", "--all", "--json"))
    assert [each["id"] for each in everything["conversations"]] == ["talk-7", "talk-8"]


@pytest.mark.usefixtures("spoken")
def test_conversations_show_writes_questions_answers_and_sources(run: Any, json_of: Any, talk: str) -> None:
    result = run("conversations", "show", talk)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "? how?" in lines
    assert f"{TEXT}[1]" in lines
    assert "[1] One" in lines
    assert "    “with USB”" in lines
    shown = json_of(run("conversations", "show", talk, "--json"))
    assert shown["conversation"]["id"] == talk
    assert [each["text"] for each in shown["messages"]] == ["how?", TEXT]


@pytest.mark.usefixtures("spoken")
def test_conversations_show_leaves_the_markers_of_a_model_as_they_are(
    run: Any, rag: FakeRag, talk: str
) -> None:
    answer = rag.messages[-1]
    answer.text = f"{TEXT}[2]"
    (citation,) = answer.answer.citations
    citation.source_index, citation.origin = 1, CitationOrigin.CITATION_ORIGIN_MARKER
    answer.answer.sources.insert(0, RetrievedChunk(chunk=Chunk(document_id="zero.md")))
    lines = run("conversations", "show", talk).stdout.splitlines()
    assert f"{TEXT}[2]" in lines
    assert "[2] One" in lines


def test_conversations_show_tells_what_was_told_of_an_answer(run: Any, rag: FakeRag, talk: str) -> None:
    answer = MessageAnswer(
        finish_reason=FinishReason.FINISH_REASON_MAX_TOKENS,
        degradations=[Degradation.DEGRADATION_LEXICAL_ONLY],
        search_question="how? charge",
        searched=SearchedWith(queries=["how? charge", "load"]),
        assistant=AssistantChoice(
            selection=AssistantSelection.ASSISTANT_SELECTION_NAMED, assistant_id="hr\x1b[2J"
        ),
        grounding=Grounding(score=0.75, supported_share=1.0),
        policy=PolicyReport(
            redactions=[Redaction(part=FilteredPart.FILTERED_PART_ANSWER, kind="email", count=2)]
        ),
    )
    rag.messages = [
        Message(id="m2", role=MessageRole.MESSAGE_ROLE_ASSISTANT, text=TEXT, answer=answer),
    ]
    lines = run("conversations", "show", talk).stdout.splitlines()
    assert lines[lines.index(TEXT) + 1 :] == [
        "assistant hr\ufffd[2J (named)",
        "searched: how? charge",
        "searched: load",
        "degraded: the embedder is down, only words were compared (LEXICAL_ONLY)",
        "Replaced by filters: 2 email in the answer.",
        "The answer was cut at the limit that it was asked with.",
        "grounding 0.75; 100% of the sentences supported",
    ]


def test_conversations_rename_changes_the_title(run: Any, json_of: Any, rag: FakeRag, talk: str) -> None:
    assert "Batteries" in run("conversations", "rename", talk, "Batteries").stdout
    (update,) = rag.calls["UpdateConversation"]
    assert (list(update.update_mask.paths), bool(update.request_id)) == (["title"], True)
    assert json_of(run("conversations", "rename", talk, "Cells", "--json"))["title"] == "Cells"


def test_conversations_delete_needs_a_yes(run: Any, rag: FakeRag, talk: str) -> None:
    assert run("conversations", "delete", talk).exit_code == 2
    assert talk in rag.conversations
    assert run("conversations", "delete", talk, "--yes").stdout == f"deleted {talk}\n"
    assert talk not in rag.conversations


def test_conversations_delete_as_json_writes_the_response(run: Any, json_of: Any, talk: str) -> None:
    assert json_of(run("conversations", "delete", talk, "--yes", "--json")) == {}


def test_chat_chooses_who_rewrites_and_shows_the_question_that_was_searched(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    rag.events[0].started.turn.search_question = "How is it charged?"
    result = run("chat", "how?", "-c", "docs", "--rewrite", "model", "--expand", "hyde")
    assert result.exit_code == 0
    (asked,) = rag.calls["StreamGenerate"]
    assert asked.generation.rewriting.WhichOneof("method") == "model"
    assert asked.generation.expansion.WhichOneof("method") == "hyde"
    assert result.stdout.startswith("searched: How is it charged?\n")
