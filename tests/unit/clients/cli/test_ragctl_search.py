from __future__ import annotations

import json
from typing import Any

import pytest

from rag.v1.chunk_pb2 import Chunk, PageRange, Span
from rag.v1.retrieve_service_pb2 import (
    AnalyzedToken,
    AnalyzeResponse,
    Embedding,
    EmbedResponse,
    RetrieveResponse,
    TokenKind,
)
from rag.v1.retrieved_chunk_pb2 import (
    CollectionRevision,
    Degradation,
    LegSignal,
    RetrievedChunk,
    ScoreScale,
    Signals,
)
from rag.v1.timings_pb2 import StageTiming, Timings
from ragctl.highlight import query_terms, snippet, term_spans
from tests.unit.clients.cli.ragctl_fake_server import FakeRag


@pytest.fixture(autouse=True)
def results(rag: FakeRag) -> None:
    chunk = Chunk(
        collection_id="docs",
        document_id="manual.pdf",
        document_revision=3,
        ordinal=7,
        title="The \x1b[31mmanual",
        text="Batteries are charged with the USB cable.",
        pages=PageRange(first=3, last=4),
        heading_path=["Power", "Charging"],
    )
    rag.retrieve_response = RetrieveResponse(
        results=[
            RetrievedChunk(
                chunk=chunk,
                rank=1,
                score=0.03252,
                signals=Signals(dense=LegSignal(rank=2, score=0.8125), fused_score=0.01613),
            )
        ],
        score_scale=ScoreScale.SCORE_SCALE_RRF,
        degradations=[Degradation.DEGRADATION_LEXICAL_ONLY],
        collection_revisions=[CollectionRevision(collection_id="docs", revision=12)],
        timings=Timings(total_us=4200, stages=[StageTiming(stage="embed", duration_us=1500)]),
    )


def test_search_shows_rank_scores_place_and_passage(run: Any) -> None:
    shown = run("search", "charge battery", "-c", "docs").stdout
    for text in ("0.03252", "2: 0.812", "manual", "pp. 3-4", "Power > Charging", "Batteries are charged"):
        assert text in shown
    assert "\x1b" not in shown
    assert "0.01613" not in shown


def test_search_shows_what_was_missing(run: Any) -> None:
    assert "LEXICAL_ONLY" in run("search", "x", "-c", "docs").stdout


def test_search_with_explain_adds_fused_scores_revisions_and_timings(run: Any) -> None:
    shown = run("search", "charge", "-c", "docs", "--explain").stdout
    for text in ("0.01613", "manual.pdf r3 #7", "docs 12", "4.2 ms (embed 1.5 ms)", "RRF"):
        assert text in shown


def test_search_sends_collections_filter_and_limits(run: Any, rag: FakeRag) -> None:
    options = ["-c", "a", "-c", "b", "-k", "3", "--candidates", "9", "-f", "price<5", "-f", "year?"]
    assert run("search", "why", *options).exit_code == 0
    request = rag.calls["Retrieve"][0]
    assert list(request.collection_ids) == ["a", "b"]
    asked = request.options
    assert (request.query, asked.top_k, asked.candidate_count) == ("why", 3, 9)
    assert len(asked.filter.boolean.must) == 2


def test_search_without_limits_leaves_them_to_the_server(run: Any, rag: FakeRag) -> None:
    run("search", "why", "-c", "a")
    request = rag.calls["Retrieve"][0]
    assert not request.options.HasField("top_k")
    assert not request.options.HasField("filter")


def test_search_with_json_is_the_response_in_the_contracts_names(run: Any, json_of: Any) -> None:
    response = json_of(run("search", "x", "-c", "docs", "--json"))
    assert response["results"][0]["chunk"]["heading_path"] == ["Power", "Charging"]
    assert response["degradations"] == ["DEGRADATION_LEXICAL_ONLY"]


def test_search_that_finds_nothing_says_so(run: Any, rag: FakeRag) -> None:
    rag.retrieve_response = RetrieveResponse()
    result = run("search", "x", "-c", "docs")
    assert result.exit_code == 0
    assert result.stdout.strip() == "nothing found"


def test_search_with_a_wrong_filter_is_a_usage_error(run: Any, rag: FakeRag) -> None:
    result = run("search", "x", "-c", "docs", "-f", "price", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["reason"] == "USAGE"
    assert rag.calls["Retrieve"] == []


def test_highlight_marks_inflections_and_ignores_accents() -> None:
    text = "La batería se carga; las BATERIAS cargadas duran."
    spans = term_spans(text, query_terms("¿Cómo cargar la batería?"))
    assert [text[start:end] for start, end in spans] == ["batería", "carga", "BATERIAS", "cargadas"]


def test_highlight_terms_leave_out_short_words_but_keep_codes() -> None:
    assert query_terms("is it DTE-33 or A4?") == ["dte-33", "a4"]


def test_snippet_shows_the_part_with_the_query() -> None:
    text = "filler word " * 100 + "the needle is here " + "filler word " * 100
    shown = snippet(text, "needle")
    assert "needle" in shown.plain
    assert shown.plain.startswith("…")
    assert shown.plain.endswith("…")
    assert len(shown.plain) <= 242
    assert [shown.plain[each.start : each.end] for each in shown.spans] == ["needle"]


def test_snippet_of_a_short_text_is_the_text_on_one_line() -> None:
    assert snippet("a\n  b\tc", "zzz").plain == "a b c"
    assert snippet("x" * 500, "zzz").plain == "x" * 240 + "…"


def test_analyze_shows_each_step(run: Any, rag: FakeRag) -> None:
    rag.analyze_response = AnalyzeResponse(
        language="es",
        lexemes=["camion"],
        tokens=[
            AnalyzedToken(surface="los", kind=TokenKind.TOKEN_KIND_WORD, is_stop_word=True, normalized="los"),
            AnalyzedToken(
                surface="Camiones",
                span=Span(start=4, end=12),
                kind=TokenKind.TOKEN_KIND_WORD,
                lexeme="camion",
            ),
        ],
    )
    shown = run("analyze", "los Camiones", "-l", "es").stdout
    for text in ("Camiones", "4-12", "word", "(dropped)", "lexemes: camion"):
        assert text in shown
    assert rag.calls["Analyze"][0].language == "es"


def test_analyze_takes_a_collection_or_a_language(run: Any, rag: FakeRag) -> None:
    run("analyze", "x", "-c", "docs")
    run("analyze", "x")
    assert [each.WhichOneof("analyzer") for each in rag.calls["Analyze"]] == ["collection_id", "language"]
    assert run("analyze", "x", "-c", "docs", "-l", "es").exit_code == 2


def test_embed_shows_the_vectors(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.embed_response = EmbedResponse(embeddings=[Embedding(values=[0.5] * 8, token_count=3)], model="m")
    shown = run("embed", "hello").stdout
    assert "+0.5000" in shown
    assert "8" in shown
    assert json_of(run("embed", "hello", "--json"))["embeddings"][0]["values"] == [0.5] * 8
