from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from rag.v1.generate_service_pb2 import (
    GenerationFinished,
    StreamGenerateResponse,
)
from rag.v1.options_pb2 import GenerationOptions, GenerationPriority
from tests.unit.clients.cli.ragctl_fake_server import FakeRag

ALL: Final = (
    *("--model", "fast", "--language", "es", "--max-tokens", "99", "--max-cost", "0.5"),
    *("--temperature", "0", "--top-p", "0.9", "--seed", "7", "--stop", "END", "--stop", "Fin"),
    *("--markers", "--min-grounding", "0.5", "--no-cache", "--bulk", "--regex", "a+"),
    *("--expand", "hyde", "--expand-model", "small", "--expand-count", "2"),
)
IN_A_CONVERSATION: Final = frozenset({"rewriting"})
"""What says nothing of a question that stands alone."""


@pytest.fixture
def answering(rag: FakeRag) -> FakeRag:
    rag.events = [StreamGenerateResponse(finished=GenerationFinished())]
    return rag


def _set(options: GenerationOptions) -> set[str]:
    return {field.name for field, _ in options.ListFields()}


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_every_generation_option_of_the_contract_can_be_given(
    run: Any, answering: FakeRag, command: str
) -> None:
    rewriting = ("--rewrite", "model", "--rewrite-model", "small") if command == "chat" else ()
    result = run(command, "how?", "-c", "docs", *ALL, *rewriting)
    assert result.exit_code == 0
    (asked,) = answering.calls["StreamGenerate"]
    every = {field.name for field in GenerationOptions.DESCRIPTOR.fields}
    assert _set(asked.generation) == (every if rewriting else every - IN_A_CONVERSATION)
    given = asked.generation
    assert (given.top_p, given.seed, list(given.stop), given.max_cost) == (0.9, 7, ["END", "Fin"], 0.5)
    assert given.priority == GenerationPriority.GENERATION_PRIORITY_BULK
    assert (given.expansion.model, given.expansion.hyde.passage_count) == ("small", 2)
    assert given.grounding.min_score == 0.5
    assert given.rewriting.model.model == ("small" if rewriting else "")


def test_grounding_without_a_threshold_is_asked_for_alone(run: Any, answering: FakeRag) -> None:
    run("ask", "how?", "-c", "docs", "--grounding")
    asked = answering.calls["StreamGenerate"][0].generation
    assert asked.HasField("grounding")
    assert not asked.grounding.HasField("min_score")


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("multi-query", "multi_query.query_count"),
        ("hyde", "hyde.passage_count"),
        ("decomposition", "decomposition.max_query_count"),
    ],
)
def test_expansion_is_bounded_by_the_field_of_its_method(
    run: Any, answering: FakeRag, method: str, field: str
) -> None:
    run("ask", "how?", "-c", "docs", "--expand", method, "--expand-count", "4")
    asked: Any = answering.calls["StreamGenerate"][0].generation.expansion
    for name in field.split("."):
        asked = getattr(asked, name)
    assert asked == 4


@pytest.mark.parametrize(
    "options",
    [
        ("--expand-count", "2"),
        ("--expand-model", "small"),
        ("--rewrite-model", "small"),
        ("--rewrite", "rules", "--rewrite-model", "small"),
        ("--json-schema", "absent.json"),
    ],
)
def test_option_of_something_that_is_not_asked_for_is_a_usage_error(
    run: Any, answering: FakeRag, options: tuple[str, ...]
) -> None:
    assert run("chat", "how?", "-c", "docs", *options).exit_code == 2
    assert not answering.calls["StreamGenerate"]


def test_chat_asks_for_a_form_as_ask_does(run: Any, answering: FakeRag, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")
    for command in ("ask", "chat"):
        run(command, "how?", "-c", "docs", "--json-schema", str(schema))
    asked = [each.generation.output.json_schema for each in answering.calls["StreamGenerate"]]
    assert asked == ['{"type": "object"}'] * 2
