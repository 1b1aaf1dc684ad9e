from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag.v1.chunk_pb2 import Chunk, Span
from rag.v1.generate_service_pb2 import FinishReason, GenerationFinished, StreamGenerateResponse
from rag.v1.grounding_pb2 import (
    CheckGroundingResponse,
    FactKind,
    Grounding,
    GroundingSupport,
    MissingFact,
    SentenceGrounding,
)
from ragctl.exit_codes import ExitCode
from tests.unit.clients.cli.conftest import Run
from tests.unit.clients.cli.ragctl_fake_server import FakeRag

TEXT = "It opened in 1889. It has 7 doors. Really?"
RESPONSE = CheckGroundingResponse(
    grounding=Grounding(
        score=0.55,
        supported_share=0.5,
        sentences=[
            SentenceGrounding(
                span=Span(start=0, end=18),
                score=0.9,
                supports=[GroundingSupport(source_index=0, quote="The tower was\nopened in 1889.")],
            ),
            SentenceGrounding(
                span=Span(start=19, end=34),
                score=0.2,
                missing_facts=[MissingFact(kind=FactKind.FACT_KIND_NUMBER, text="7")],
            ),
            SentenceGrounding(span=Span(start=35, end=42)),
        ],
    ),
    sources=[Chunk(document_id="tower.txt", title="The tower")],
)


@pytest.fixture
def checked(rag: FakeRag) -> FakeRag:
    rag.grounding_response = RESPONSE
    return rag


def test_check_shows_each_sentence_with_its_score_its_support_and_what_it_lacks(
    run: Run, checked: FakeRag
) -> None:
    result = run("check-grounding", TEXT, "-c", "books", "-c", "more")
    assert result.exit_code == ExitCode.OK
    lines = [line.strip() for line in result.output.splitlines()]
    assert lines[:6] == [
        "0.90  It opened in 1889.",
        "“The tower was opened in 1889.” (The tower)",
        "0.20  It has 7 doors.",
        "no source has: 7",
        "-   Really?",
        "grounding 0.55; 50% of the sentences supported",
    ]
    (request,) = checked.calls["CheckGrounding"]
    assert (request.text, list(request.search.collection_ids)) == (TEXT, ["books", "more"])
    assert not request.search.HasField("filter")


def test_check_against_chunks_names_them_and_their_collection(run: Run, checked: FakeRag) -> None:
    run("check-grounding", TEXT, "-c", "books", "--chunk-id", "c1", "--chunk-id", "c2", "-l", "en")
    (request,) = checked.calls["CheckGrounding"]
    assert (request.chunks.collection_id, list(request.chunks.chunk_ids)) == ("books", ["c1", "c2"])
    assert request.language == "en"


@pytest.mark.parametrize(
    "options",
    [
        ("--passage", "It did.", "--chunk-id", "c1"),
        ("-c", "books", "-c", "more", "--chunk-id", "c1"),
        ("-c", "books", "--chunk-id", "c1", "--chunks", "3"),
        ("-c", "books", "--chunk-id", "c1", "-d", "tower.txt"),
    ],
)
def test_check_against_chunks_of_no_one_collection_is_a_usage_error(
    run: Run, checked: FakeRag, options: tuple[str, ...]
) -> None:
    assert run("check-grounding", TEXT, *options).exit_code == ExitCode.USAGE
    assert not checked.calls["CheckGrounding"]


def test_check_of_one_document_filters_by_it(run: Run, checked: FakeRag) -> None:
    run("check-grounding", TEXT, "-c", "books", "-d", "tower.txt", "--chunks", "3", "--filter", "year=1889")
    (request,) = checked.calls["CheckGrounding"]
    document, year = request.search.filter.boolean.must
    assert (document.comparison.field, document.comparison.value.string_value) == ("document_id", "tower.txt")
    assert year.comparison.field == "metadata.year"
    assert request.search.chunks_per_sentence == 3
    run("check-grounding", TEXT, "-c", "books", "-d", "tower.txt")
    assert checked.calls["CheckGrounding"][1].search.filter.comparison.value.string_value == "tower.txt"


def test_check_against_passages_searches_nothing(run: Run, checked: FakeRag, tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    file.write_text(TEXT, encoding="utf-8")
    run("check-grounding", "--file", str(file), "-p", "One.", "-p", "Two.")
    run("check-grounding", "--file", "-", "-p", "One.", input=TEXT)
    first, second = checked.calls["CheckGrounding"]
    assert (first.text, list(first.passages.texts)) == (TEXT, ["One.", "Two."])
    assert second.text == TEXT


def test_check_below_the_minimum_fails(run: Run, checked: FakeRag) -> None:
    result = run("check-grounding", TEXT, "-c", "books", "--min-grounding", "0.6")
    assert result.exit_code == ExitCode.FAILED
    assert "below 0.60" in result.output
    assert run("check-grounding", TEXT, "-c", "books", "--min-grounding", "0.5").exit_code == ExitCode.OK


def test_check_as_json_is_the_response(run: Run, checked: FakeRag, json_of: Callable[[Any], Any]) -> None:
    document = json_of(run("check-grounding", TEXT, "-c", "books", "--json"))
    assert json.dumps(document).count("source_index") + json.dumps(document).count("sourceIndex") <= 1
    assert "grounding" in document


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "books"],
        [TEXT],
        [TEXT, "--file", "x.txt", "-c", "books"],
        [TEXT, "-c", "books", "-p", "One."],
        [TEXT, "-p", "One.", "-d", "tower.txt"],
        ["--file", "/nonexistent/x.txt", "-c", "books"],
        [TEXT, "-c", "books", "--filter", "?"],
    ],
)
def test_check_with_wrong_options_calls_nobody(run: Run, checked: FakeRag, arguments: list[str]) -> None:
    assert run("check-grounding", *arguments).exit_code == ExitCode.USAGE
    assert not checked.calls["CheckGrounding"]


def test_ask_with_a_least_grounding_sends_it_and_shows_the_score(run: Run, rag: FakeRag) -> None:
    finished = GenerationFinished(
        reason=FinishReason.FINISH_REASON_LOW_GROUNDING, grounding=Grounding(score=0.3, model="acme/nli")
    )
    rag.events = [StreamGenerateResponse(finished=finished)]
    result = run("ask", "-c", "books", "why?", "--min-grounding", "0.5")
    assert "grounding 0.30; 0% of the sentences supported, judged by acme/nli" in result.output
    (request,) = rag.calls["StreamGenerate"]
    assert request.generation.grounding.min_score == 0.5
    run("ask", "-c", "books", "why?")
    assert not rag.calls["StreamGenerate"][1].generation.HasField("grounding")
