from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.v1.chunk_pb2 import Chunk, PageRange, Span
from rag.v1.expansion_pb2 import SearchedWith
from rag.v1.generate_service_pb2 import (
    AnswerDelta,
    Citation,
    CitationOrigin,
    FinishReason,
    GenerationFinished,
    GenerationGap,
    GenerationRetrieved,
    GenerationStarted,
    StreamGenerateRequest,
    StreamGenerateResponse,
    Usage,
)
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from rag.v1.options_pb2 import AnswerCaching, CitationMarkers, GenerationOptions, RetrievalOptions
from rag.v1.policy_pb2 import FilteredPart
from rag.v1.retrieved_chunk_pb2 import Degradation, RetrievedChunk
from rag.v1.timings_pb2 import Timings
from ragctl.answer_events import RESUME_WINDOW_MS, answer_events
from ragctl.answer_text import CitedText
from ragctl.retry import Retry
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

FIRST, SECOND = "Charge it with USB.", " Año dos."


def _citation(source: int, start: int, end: int, quote: str = "") -> Citation:
    return Citation(source_index=source, answer_span=Span(start=start, end=end), quote=quote)


def _events(
    reason: FinishReason.ValueType = FinishReason.FINISH_REASON_COMPLETE,
    *degradations: Degradation.ValueType,
) -> list[StreamGenerateResponse]:
    sources = [
        RetrievedChunk(chunk=Chunk(document_id="zero.md", title="Zero")),
        RetrievedChunk(
            chunk=Chunk(
                document_id="one.pdf",
                title="One",
                pages=PageRange(first=2, last=2),
                heading_path=["Power"],
                source_uri="https://a.org/one.pdf",
            )
        ),
    ]
    return [
        StreamGenerateResponse(started=GenerationStarted(model="extractive")),
        StreamGenerateResponse(retrieved=GenerationRetrieved(sources=sources, degradations=degradations)),
        StreamGenerateResponse(delta=AnswerDelta(text=FIRST)),
        StreamGenerateResponse(citation=_citation(1, 0, len(FIRST), "Charge it with USB.")),
        StreamGenerateResponse(delta=AnswerDelta(text=SECOND)),
        StreamGenerateResponse(citation=_citation(0, len(FIRST) + 1, len(FIRST + SECOND), "Año\x1b[2J dos.")),
        StreamGenerateResponse(usage=Usage(prompt_token_count=5, answer_token_count=7)),
        StreamGenerateResponse(
            finished=GenerationFinished(model="extractive", reason=reason, timings=Timings(total_us=3100))
        ),
    ]


def test_ask_prints_the_answer_with_markers_then_sources_and_time(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    result = run("ask", "how?", "-c", "docs")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Charge it with USB.[1] Año dos.[2]",
        "",
        "Sources",
        "[1] One, p. 2, Power, https://a.org/one.pdf",
        "    “Charge it with USB.”",
        "[2] Zero",
        "    “Año\ufffd[2J dos.”",
        "server time 3.1 ms",
    ]


def test_ask_sends_question_collections_and_options(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    options = ["-c", "a", "-c", "b", "--sources", "4", "--max-tokens", "99", "--language", "es", "-f", "x=1"]
    run("ask", "how?", *options)
    request = rag.calls["StreamGenerate"][0]
    assert (request.question, list(request.collection_ids)) == ("how?", ["a", "b"])
    assert request.retrieval.top_k == 4
    assert (request.generation.max_answer_tokens, request.generation.language) == (99, "es")
    assert request.retrieval.filter.comparison.field == "metadata.x"
    assert 100 < rag.timeouts["StreamGenerate"][0] < 330


def test_ask_takes_the_ranking_options_of_search(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    run("ask", "how?", "-c", "docs", "--fusion", "rrf", "--rerank", "late-interaction", "--context", "2")
    asked = rag.calls["StreamGenerate"][0].retrieval
    assert asked.fusion.WhichOneof("method") == "rrf"
    assert asked.rerank.WhichOneof("method") == "late_interaction"
    assert asked.context_chunks == 2


def test_ask_chooses_the_model_and_its_temperature(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    run("ask", "how?", "-c", "docs", "--model", "fast", "--temperature", "0")
    asked = rag.calls["StreamGenerate"][0].generation
    assert (asked.model, asked.HasField("temperature"), asked.temperature) == ("fast", True, 0.0)


def test_ask_tells_what_a_model_that_writes_has_read_and_written(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    finished = rag.events[-1].finished
    finished.model = "big\x1b[2J"
    finished.prompt.window_tokens = 4096
    lines = run("ask", "how?", "-c", "docs").stdout.splitlines()
    assert lines[-2:] == ["big\ufffd[2J: 5 tokens read, 7 written", "server time 3.1 ms"]
    rag.events[-2].usage.Clear()  # an answer that was given before
    assert "tokens" not in run("ask", "how?", "-c", "docs").stdout


def test_ask_tells_what_filters_did(run: Any, rag: FakeRag) -> None:
    rag.events = _events(FinishReason.FINISH_REASON_POLICY)
    policy = rag.events[-1].finished.policy
    policy.message = "the filter 'blocklist' refuses the answer"
    policy.redactions.add(part=FilteredPart.FILTERED_PART_QUESTION, filter="pii", kind="email", count=2)
    shown = run("ask", "how?", "-c", "docs").stdout
    assert "The filter 'blocklist' refuses the answer." in shown
    assert "Replaced by filters: 2 email in the question." in shown
    assert "provider" not in shown


def test_ask_asks_for_a_form(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.events = _events()
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")
    run("ask", "how?", "-c", "docs", "--json-schema", str(schema))
    run("ask", "how?", "-c", "docs", "--regex", "a+")
    run("ask", "how?", "-c", "docs", "--choice", "Yes", "--choice", "No")
    run("ask", "how?", "-c", "docs")
    by_schema, by_regex, by_choice, free = (call.generation for call in rag.calls["StreamGenerate"])
    assert by_schema.output.json_schema == '{"type": "object"}'
    assert by_regex.output.regex == "a+"
    assert list(by_choice.output.choice.values) == ["Yes", "No"]
    assert not free.HasField("output")


def test_ask_for_two_forms_or_an_unreadable_schema_is_a_wrong_usage(run: Any, tmp_path: Path) -> None:
    assert run("ask", "how?", "-c", "docs", "--regex", "a", "--choice", "b").exit_code == 2
    absent = run("ask", "how?", "-c", "docs", "--json-schema", str(tmp_path / "absent.json"))
    assert absent.exit_code == 2
    assert "cannot read" in absent.stderr
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe")
    assert run("ask", "how?", "-c", "docs", "--json-schema", str(binary)).exit_code == 2


def test_ask_tells_of_a_fallback_of_what_did_not_fit_and_of_hints(run: Any, rag: FakeRag) -> None:
    rag.events = _events(FinishReason.FINISH_REASON_POLICY)
    rag.events[3].citation.origin = CitationOrigin.CITATION_ORIGIN_SIMILARITY
    finished = rag.events[-1].finished
    finished.model = "spare"
    finished.degradations.append(Degradation.DEGRADATION_FALLBACK_MODEL)
    finished.prompt.left_out_sources.extend([1, 2])
    shown = run("ask", "how?", "-c", "docs").stdout
    assert "FALLBACK_MODEL" in shown
    assert "answered by spare" in shown
    assert "2 of the passages did not fit" in shown
    assert "withheld" in shown
    assert "    ≈ “Charge it with USB.”" in shown


def test_ask_tells_of_an_answer_that_was_kept_and_can_do_without(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    assert "--no-cache" not in run("ask", "how?", "-c", "docs", "--no-cache").stdout
    rag.events[-1].finished.from_cache = True
    assert "--no-cache asks a model again" in run("ask", "how?", "-c", "docs").stdout
    asked = [each.generation.cache for each in rag.calls["StreamGenerate"]]
    assert asked == [AnswerCaching.ANSWER_CACHING_BYPASSED, AnswerCaching.ANSWER_CACHING_UNSPECIFIED]


def test_ask_takes_any_answer_that_was_kept(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    run("ask", "how?", "-c", "docs", "--cache")
    assert rag.calls["StreamGenerate"][0].generation.cache == AnswerCaching.ANSWER_CACHING_ALLOWED


def test_ask_without_options_leaves_them_to_the_server(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    run("ask", "how?", "-c", "docs")
    run("ask", "how?", "-c", "docs", "--json")
    shown, told = rag.calls["StreamGenerate"]
    assert told.retrieval == shown.retrieval == RetrievalOptions()
    assert told.generation == GenerationOptions()
    # What is shown has markers of its own: those that an assistant may keep would stand beside them.
    assert shown.generation == GenerationOptions(citation_markers=CitationMarkers.CITATION_MARKERS_REMOVED)


def test_ask_that_keeps_the_markers_numbers_the_sources_as_they_do(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    rag.events[2].delta.text = first = "Charge it with USB.[2]"
    rag.events[3].citation.origin = CitationOrigin.CITATION_ORIGIN_MARKER
    hint = rag.events[5].citation
    hint.origin = CitationOrigin.CITATION_ORIGIN_SIMILARITY
    hint.answer_span.end = len(first + SECOND)
    lines = run("ask", "how?", "-c", "docs", "--markers").stdout.splitlines()
    asked = rag.calls["StreamGenerate"][0].generation
    assert asked.citation_markers == CitationMarkers.CITATION_MARKERS_KEPT
    assert lines[0] == "Charge it with USB.[2] Año dos.[1]"
    assert [line for line in lines if line.startswith("[")] == [
        "[1] Zero",
        "[2] One, p. 2, Power, https://a.org/one.pdf",
    ]


def test_ask_of_an_assistant_with_a_revision_to_wait_for_has_to_say_of_which_collection(run: Any) -> None:
    assert run("ask", "how?", "--assistant", "auto", "--min-revision", "3").exit_code == 2


def test_ask_that_is_not_answered_says_so_plainly(run: Any, rag: FakeRag) -> None:
    rag.events = [
        StreamGenerateResponse(delta=AnswerDelta(text="I cannot tell.")),
        _events(FinishReason.FINISH_REASON_NO_RELEVANT_CONTENT)[-1],
    ]
    result = run("ask", "how?", "-c", "docs")
    assert result.exit_code == 0
    assert "I cannot tell." in result.stdout
    assert "Sources" not in result.stdout


def test_ask_shows_a_cut_answer_and_a_degradation(run: Any, rag: FakeRag) -> None:
    rag.events = _events(FinishReason.FINISH_REASON_MAX_TOKENS, Degradation.DEGRADATION_DENSE_ONLY)
    shown = run("ask", "how?", "-c", "docs").stdout
    assert "DENSE_ONLY" in shown
    assert "--max-tokens" in shown


def test_ask_with_json_is_one_event_a_line(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    result = run("ask", "how?", "-c", "docs", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [next(iter(each)) for each in events] == [
        "started", "retrieved", "delta", "citation", "delta", "citation", "usage", "finished",
    ]  # fmt: skip
    assert events[3]["citation"]["source_index"] == 1


def test_ask_whose_stream_breaks_shows_what_came_and_fails(run: Any, rag: FakeRag) -> None:
    class Broken(list[StreamGenerateResponse]):
        def __iter__(self) -> Any:
            yield from list.__iter__(self)
            raise RuntimeError("broke")

    rag.events = Broken(_events()[:3])
    result = run("ask", "how?", "-c", "docs")
    assert result.exit_code == 1
    assert result.stdout == f"{FIRST}\n"
    assert "UNKNOWN" in result.stderr


def test_ask_whose_stream_ends_without_finished_fails(run: Any, rag: FakeRag) -> None:
    rag.events = _events()[:-1]
    result = run("ask", "how?", "-c", "docs")
    assert result.exit_code == 1
    assert "ANSWER_BROKEN" in result.stderr


def test_ask_with_a_source_that_was_not_sent_goes_on(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    rag.events[3].citation.source_index = 9
    assert "[1] a source that the server did not send" in run("ask", "how?", "-c", "docs").stdout


def test_ask_without_a_question_reads_one_a_line(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    result = run("ask", "-c", "docs", input="one?\ntwo?\n\nthree?\n")
    assert result.exit_code == 0
    assert [each.question for each in rag.calls["StreamGenerate"]] == ["one?", "two?"]
    assert "? " not in result.stderr


def test_ask_without_any_question_is_a_usage_error(run: Any) -> None:
    assert run("ask", "-c", "docs", input="").exit_code == 2


def test_ask_at_a_prompt_goes_on_after_a_failed_call(
    run: Any, rag: FakeRag, monkeypatch: pytest.MonkeyPatch
) -> None:
    rag.events = _events()
    rag.refusals["StreamGenerate"].append(
        refusal(grpc.StatusCode.NOT_FOUND, "none", reason="COLLECTION_NOT_FOUND")
    )

    class Terminal:
        def __init__(self) -> None:
            self.lines = ["one?\n", "two?\n", ""]

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.lines.pop(0)

    terminal = Terminal()
    # The runner replaces standard input itself, so the command's own name for it is replaced.
    monkeypatch.setattr("ragctl.ask.sys", type("System", (), {"stdin": terminal, "stdout": sys.stdout}))
    result = run("ask", "-c", "docs")
    assert result.exit_code == 0
    assert result.stderr.count("? ") == 3
    assert "COLLECTION_NOT_FOUND" in result.stderr
    assert "Charge it with USB.[1]" in result.stdout


def _written(pieces: list[str | Citation]) -> str:
    shown: list[str] = []
    text = CitedText(shown.append, shown.append)
    for piece in pieces:
        if isinstance(piece, str):
            text.add(piece)
        else:
            text.cite(piece)
    text.flush()
    return "".join(shown)


def test_cited_text_puts_markers_inside_a_piece_that_ends_later() -> None:
    assert (
        _written(["One. Two. ", _citation(4, 0, 4), _citation(2, 5, 9), "Three."]) == "One.[1] Two.[2] Three."
    )


def test_cited_text_puts_two_sources_of_one_span_side_by_side() -> None:
    assert _written(["One.", _citation(4, 0, 4), _citation(5, 0, 4), _citation(4, 0, 4)]) == "One.[1][2]"


def test_cited_text_puts_a_late_marker_where_it_still_can() -> None:
    assert _written(["One.", " Two.", _citation(0, 0, 4)]) == "One.[1] Two."
    assert _written(["One.", " Two.", " Three.", _citation(0, 0, 4)]) == "One. Two.[1] Three."


def test_cited_text_keeps_a_sources_number() -> None:
    assert _written(["One.", _citation(7, 0, 4), " Two.", _citation(7, 5, 9)]) == "One.[1] Two.[1]"


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.tuples(st.integers(0, 3), st.integers(-5, 40)))))
def test_cited_text_never_changes_the_answer(pieces: list[str | tuple[int, int]]) -> None:
    shown: list[str] = []
    text = CitedText(shown.append, lambda marker: None)
    for piece in pieces:
        if isinstance(piece, str):
            text.add(piece)
        else:
            text.cite(_citation(piece[0], 0, piece[1]))
    text.flush()
    assert "".join(shown) == "".join(each for each in pieces if isinstance(each, str))


def test_ask_has_a_model_expand_the_question_and_shows_what_was_searched(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    searched = SearchedWith(queries=["how?", "in what\x1b[2J way?"], passages=["It is " + "so " * 99])
    rag.events[0].started.searched.CopyFrom(searched)
    result = run("ask", "how?", "-c", "docs", "--expand", "multi-query", "--expand-model", "small")
    assert result.exit_code == 0
    (asked,) = rag.calls["StreamGenerate"]
    assert asked.generation.expansion.WhichOneof("method") == "multi_query"
    assert asked.generation.expansion.model == "small"
    first, second, *_ = result.stdout.splitlines()
    assert first == "searched: in what\ufffd[2J way?"
    assert second.startswith("searched near: It is so so")


def test_ask_with_a_model_for_no_expansion_is_a_usage_error(run: Any) -> None:
    assert run("ask", "how?", "-c", "docs", "--expand-model", "small").exit_code == 2


def test_ask_goes_on_where_the_connection_broke_and_says_so(
    run: Any, rag: FakeRag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "wait_s", lambda *_: 0.0)
    rag.events = _events()
    rag.answer_breaks = [3, 3, 6, 8]
    result = run("ask", "how?", "-c", "docs")
    assert result.exit_code == 0
    assert result.stdout.startswith("Charge it with USB.[1] Año dos.[2]\n")
    assert result.stderr.count("the connection broke") == 3
    asked = rag.calls["StreamGenerate"]
    assert [each.resume_cursor for each in asked] == ["", "3", "3", "6"]
    assert {each.resume_window_ms for each in asked} == {RESUME_WINDOW_MS}


def test_ask_goes_on_until_it_reaches_the_server_that_has_its_answer(
    run: Any, rag: FakeRag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "wait_s", lambda *_: 0.0)
    rag.events = _events()
    rag.answer_breaks = [3, 8]
    elsewhere = refusal(grpc.StatusCode.UNAVAILABLE, "not here", reason="STREAM_ELSEWHERE")
    rag.refusals["StreamGenerate"] += [lambda context: None, elsewhere, elsewhere]
    result = run("ask", "how?", "-c", "docs")
    assert result.exit_code == 0
    assert result.stdout.startswith("Charge it with USB.[1] Año dos.[2]\n")
    assert [each.resume_cursor for each in rag.calls["StreamGenerate"]] == ["", "3", "3", "3"]


def test_ask_whose_answer_cannot_be_resumed_shows_what_came_and_fails(
    run: Any, rag: FakeRag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "wait_s", lambda *_: 0.0)
    rag.events = _events()
    rag.answer_breaks = [3]
    gone = refusal(grpc.StatusCode.NOT_FOUND, "gone", reason="STREAM_NOT_RESUMABLE")
    rag.refusals["StreamGenerate"] += [lambda context: None, gone]
    result = run("ask", "how?", "-c", "docs")
    assert (result.exit_code, result.stdout) == (1, f"{FIRST}\n")
    assert "STREAM_NOT_RESUMABLE" in result.stderr


@pytest.mark.parametrize("reads", [1, 3])
def test_leaving_an_answer_has_the_server_give_it_up(rag: FakeRag, address: str, reads: int) -> None:
    rag.events = _events()
    rag.answer_breaks = [len(rag.events)] * 2
    with grpc.insecure_channel(address) as channel:
        question = StreamGenerateRequest(question="how?")
        events = answer_events(GenerateServiceStub(channel), question, timeout_s=10.0, on_break=lambda: None)
        for _ in range(reads):
            next(events)
        events.close()
    asked = rag.calls["StreamGenerate"]
    assert [each.resume_cursor for each in asked] == ["", str(reads)]
    assert [each.resume_window_ms for each in asked] == [RESUME_WINDOW_MS, 100]


def test_ask_asks_once_where_nothing_came_or_the_server_told_of_an_error(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    rag.answer_breaks = [0]
    assert run("ask", "how?", "-c", "docs").exit_code != 0
    assert len(rag.calls["StreamGenerate"]) == 1


def test_ask_shows_a_gap_and_keeps_markers_in_their_places(run: Any, rag: FakeRag) -> None:
    rag.events = _events()
    gap = GenerationGap(event_count=2, answer_offset=len(FIRST))
    rag.events[2:4] = [StreamGenerateResponse(gap=gap)]
    result = run("ask", "how?", "-c", "docs")
    assert result.stdout.startswith(" […]  Año dos.[1]\n")
    assert "2 events of the answer" in result.stderr
