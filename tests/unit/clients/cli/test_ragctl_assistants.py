from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from rag.v1.assistant_pb2 import Assistant, AssistantChoice, AssistantSelection
from rag.v1.generate_service_pb2 import (
    AnswerDelta,
    FinishReason,
    GenerationFinished,
    GenerationStarted,
    StreamGenerateResponse,
)
from rag.v1.options_pb2 import GenerationOptions, RetrievalOptions
from tests.unit.clients.cli.ragctl_fake_server import FakeRag

CHOICE = AssistantChoice(
    assistant_id="hr",
    revision=3,
    selection=AssistantSelection.ASSISTANT_SELECTION_KEYWORD,
    matched="annual\x1b leave",
    score=0.5,
)


@pytest.fixture
def hr(rag: FakeRag) -> Assistant:
    rag.assistants["hr"] = Assistant(
        id="hr",
        instructions="Be kind.\nAnd\x1b[2J brief.",
        collection_ids=["handbook"],
        retrieval=RetrievalOptions(top_k=5),
        keywords=["leave"],
        revision=3,
        update_time=Timestamp(seconds=1),
    )
    return rag.assistants["hr"]


def _answers(rag: FakeRag, choice: AssistantChoice | None) -> None:
    finished = GenerationFinished(reason=FinishReason.FINISH_REASON_COMPLETE)
    rag.events = [
        StreamGenerateResponse(started=GenerationStarted(model="extractive", assistant=choice)),
        StreamGenerateResponse(delta=AnswerDelta(text="15 days.")),
        StreamGenerateResponse(finished=finished),
    ]


def test_create_sends_what_the_options_say(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    told.write_text("Be kind.", "utf-8")
    result = run(
        "assistants", "create", "hr", "--instructions", f"@{told}", "-c", "handbook", "-c", "law",
        "--keyword", "leave", "--example", "How long is the leave?", "--default",
        "--model", "fast", "--sources", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (sent,) = rag.calls["CreateAssistant"]
    assert sent.request_id
    assert sent.assistant_id == "hr"
    assert sent.assistant == Assistant(
        instructions="Be kind.",
        collection_ids=["handbook", "law"],
        keywords=["leave"],
        examples=["How long is the leave?"],
        is_default=True,
        generation=GenerationOptions(model="fast"),
        retrieval=RetrievalOptions(top_k=3),
    )


def test_update_names_only_what_was_given(run: Any, rag: FakeRag, hr: Assistant) -> None:
    result = run("assistants", "update", "hr", "--instructions", "Be brief.", "--no-default")
    assert result.exit_code == 0, result.output
    (sent,) = rag.calls["UpdateAssistant"]
    assert sorted(sent.update_mask.paths) == ["instructions", "is_default"]
    assert (hr.instructions, hr.is_default, hr.keywords) == ("Be brief.", False, ["leave"])


def test_update_of_model_and_sources_leaves_the_other_settings(run: Any, rag: FakeRag, hr: Assistant) -> None:
    result = run("assistants", "update", "hr", "--model", "slow", "--sources", "4")
    assert result.exit_code == 0, result.output
    (sent,) = rag.calls["UpdateAssistant"]
    assert sorted(sent.update_mask.paths) == ["generation.model", "retrieval.top_k"]


def test_update_by_a_file_and_an_option_names_the_settings_of_the_file(
    run: Any, rag: FakeRag, hr: Assistant, tmp_path: Path
) -> None:
    file = tmp_path / "hr.json"
    file.write_text('{"generation": {"temperature": 0.5}}', "utf-8")
    run("assistants", "update", "hr", "--file", str(file), "--model", "slow")
    (sent,) = rag.calls["UpdateAssistant"]
    assert list(sent.update_mask.paths) == ["generation"]
    assert sent.assistant.generation == GenerationOptions(model="slow", temperature=0.5)


def test_update_takes_what_get_has_shown(run: Any, rag: FakeRag, hr: Assistant, tmp_path: Path) -> None:
    shown = run("assistants", "get", "hr", "--json").stdout
    data = {**json.loads(shown), "keywords": []}
    file = tmp_path / "hr.json"
    file.write_text(json.dumps(data), "utf-8")
    result = run("assistants", "update", "hr", "--file", str(file), "--description", "leave")
    assert result.exit_code == 0, result.output
    (sent,) = rag.calls["UpdateAssistant"]
    assert {"keywords", "retrieval", "description"} <= set(sent.update_mask.paths)
    assert not {"id", "revision", "update_time"} & set(sent.update_mask.paths)
    assert (hr.keywords, hr.description, hr.retrieval.top_k) == ([], "leave", 5)


@pytest.mark.parametrize("text", ["{", "[]", '{"tone": 1}', '{"keywords": 7}'])
def test_file_that_is_no_assistant_is_refused(run: Any, rag: FakeRag, tmp_path: Path, text: str) -> None:
    file = tmp_path / "hr.json"
    file.write_text(text, "utf-8")
    result = run("assistants", "create", "hr", "--file", str(file))
    assert result.exit_code == 2
    assert str(file) in result.stderr.replace("\n", "")
    assert not rag.calls["CreateAssistant"]


def test_instructions_of_a_missing_file_are_refused(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    result = run("assistants", "create", "hr", "--instructions", f"@{tmp_path / 'none.txt'}")
    assert (result.exit_code, rag.calls["CreateAssistant"]) == (2, [])


def test_update_without_a_change_is_refused(run: Any, rag: FakeRag) -> None:
    result = run("assistants", "update", "hr")
    assert (result.exit_code, rag.calls["UpdateAssistant"]) == (2, [])


def test_get_shows_the_settings_and_nothing_that_acts_on_the_terminal(run: Any, hr: Assistant) -> None:
    result = run("assistants", "get", "hr")
    assert result.exit_code == 0
    assert '{"top_k": 5}' in result.stdout
    assert "\x1b" not in result.stdout


def test_list_and_revisions_follow_the_pages(run: Any, rag: FakeRag, hr: Assistant, json_of: Any) -> None:
    rag.assistants["it"] = Assistant(id="it", is_default=True)
    result = run("assistants", "list", "--limit", "1")
    assert "hr" in result.stdout
    assert "--page-token 1" in result.stderr.replace("\n", " ")
    assert [each["id"] for each in json_of(run("assistants", "list", "--json"))["assistants"]] == ["hr", "it"]
    rag.assistant_revisions = [Assistant(id="hr", revision=2), Assistant(id="hr", revision=1)]
    found = json_of(run("assistants", "revisions", "hr", "--json"))["revisions"]
    assert [each["revision"] for each in found] == ["2", "1"]
    assert "revision" in run("assistants", "revisions", "hr").stdout


@pytest.mark.parametrize(("options", "revision"), [((), None), (("--revision", "2"), 2)])
def test_restore_names_the_revision(
    run: Any, rag: FakeRag, hr: Assistant, options: tuple[str, ...], revision: int | None
) -> None:
    assert run("assistants", "restore", "hr", *options).exit_code == 0
    (sent,) = rag.calls["RestoreAssistantRevision"]
    assert (sent.revision if sent.HasField("revision") else None) == revision


def test_delete_asks_unless_told_not_to(run: Any, rag: FakeRag, hr: Assistant) -> None:
    assert run("assistants", "delete", "hr").exit_code == 2
    assert rag.assistants
    assert run("assistants", "delete", "hr", "--yes").exit_code == 0
    assert not rag.assistants


def test_absent_assistant_is_told(run: Any) -> None:
    result = run("assistants", "get", "none")
    assert result.exit_code != 0
    assert "ASSISTANT_NOT_FOUND" in result.stderr


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_assistant_is_sent_and_the_choice_is_told(run: Any, rag: FakeRag, command: str) -> None:
    _answers(rag, CHOICE)
    result = run(command, "how many days?", "--assistant", "auto")
    assert result.exit_code == 0, result.output
    (sent,) = rag.calls["StreamGenerate"]
    assert (sent.assistant, list(sent.collection_ids)) == ("auto", [])
    assert "assistant hr (keyword “annual� leave”, 0.50)" in result.stdout
    assert "15 days." in result.stdout


def test_choice_of_none_is_told(run: Any, rag: FakeRag) -> None:
    _answers(rag, AssistantChoice(selection=AssistantSelection.ASSISTANT_SELECTION_NONE))
    assert "no assistant (none)" in run("ask", "what?", "-c", "docs", "--assistant", "auto").stdout


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_question_without_any_place_is_refused(run: Any, rag: FakeRag, command: str) -> None:
    result = run(command, "how many days?")
    assert (result.exit_code, rag.calls["StreamGenerate"]) == (2, [])
    assert "--assistant" in result.stderr
