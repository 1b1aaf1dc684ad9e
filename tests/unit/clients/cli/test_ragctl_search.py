from __future__ import annotations

import json
from typing import Any

import pytest

from rag.v1.chunk_pb2 import Chunk, PageRange, Span
from rag.v1.explanation_pb2 import ChunkTrace, CollectionExplanation, Explanation, Outcome
from rag.v1.generate_service_pb2 import CountTokensResponse
from rag.v1.options_pb2 import RetrievalOptions
from rag.v1.retrieve_service_pb2 import (
    AnalyzedToken,
    AnalyzeResponse,
    Embedding,
    EmbedResponse,
    RerankedPassage,
    RerankRequest,
    RerankResponse,
    RetrieveResponse,
    TokenKind,
)
from rag.v1.retrieved_chunk_pb2 import (
    CollectionRevision,
    Degradation,
    LegSignal,
    RerankSignal,
    RetrievedChunk,
    ScoreScale,
    Signals,
)
from rag.v1.retriever_pb2 import DenseMethod, RetrievalEngine
from rag.v1.timings_pb2 import StageTiming, Timings
from ragctl.explanation_view import OUTCOMES
from ragctl.highlight import query_terms, snippet, term_spans
from ragctl.search import degradation_note
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
    for text in ("0.01613", "manual.pdf r3 #7", "docs 12", "4.2 ms (embed 1.5 ms)", "score scale: rrf"):
        assert text in shown


def explained(rag: FakeRag) -> None:
    """Have the server explain its results."""
    rag.retrieve_response.explanation.CopyFrom(
        Explanation(
            collections=[
                CollectionExplanation(
                    collection_id="docs",
                    engine=RetrievalEngine.RETRIEVAL_ENGINE_RESIDENT,
                    lexemes=["charg", "\x1bbatteri"],
                    chunk_count=900,
                    passing_count=0,
                    dense_method=DenseMethod.DENSE_METHOD_HNSW,
                ),
                CollectionExplanation(collection_id="news", engine=RetrievalEngine.RETRIEVAL_ENGINE_STORE),
            ],
            dense_candidate_count=50,
            lexical_candidate_count=12,
            dense_weight=0.25,
            lexical_weight=0.75,
            traces=[
                ChunkTrace(
                    chunk_id="c1",
                    outcome=Outcome.OUTCOME_NEAR_DUPLICATE,
                    dense=LegSignal(rank=4, score=0.5),
                    lexical=LegSignal(score=1.5),
                    fused_rank=3,
                    fused_score=0.25,
                    rerank=RerankSignal(rank=2, score=0.625),
                    duplicate_of="c0",
                ),
                ChunkTrace(chunk_id="c2", outcome=Outcome.OUTCOME_ABSENT),
            ],
        )
    )


def test_search_with_explain_shows_what_each_collection_and_leg_contributed(run: Any, rag: FakeRag) -> None:
    explained(rag)
    shown = run("search", "charge", "-c", "docs", "--explain").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "docs resident 900 0 hnsw charg \ufffdbatteri" in lines
    assert "news store ? ? not searched (none)" in lines
    assert "candidates: dense 50 (weight 0.25), lexical 12 (weight 0.75)" in lines
    assert rag.calls["Retrieve"][0].options.HasField("explain")


def test_search_with_traces_asks_for_them_and_shows_where_each_chunk_went(run: Any, rag: FakeRag) -> None:
    explained(rag)
    shown = run("search", "charge", "-c", "docs", "--trace", "c1", "--trace", "c2").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "c1 a near duplicate of c0 4: 0.500 not ranked: 1.500 3: 0.25000 2: 0.6250" in lines
    assert "c2 is in no collection that was searched - - - -" in lines
    assert list(rag.calls["Retrieve"][0].options.explain.chunk_ids) == ["c1", "c2"]


def test_search_with_an_outcome_that_only_the_server_knows_names_its_number(run: Any, rag: FakeRag) -> None:
    rag.retrieve_response.explanation.traces.add(chunk_id="c1").outcome = 99  # type: ignore[assignment]  # later
    assert "kind 99" in run("search", "charge", "-c", "docs", "--trace", "c1").stdout


def test_explanation_has_words_for_every_outcome() -> None:
    assert set(OUTCOMES) == set(Outcome.values()) - {Outcome.OUTCOME_UNSPECIFIED}


def test_search_without_explain_asks_for_none(run: Any, rag: FakeRag) -> None:
    explained(rag)
    shown = run("search", "charge", "-c", "docs").stdout
    assert not rag.calls["Retrieve"][0].options.HasField("explain")
    assert "candidates:" not in shown


def test_search_with_explain_and_json_has_the_explanation(run: Any, json_of: Any, rag: FakeRag) -> None:
    explained(rag)
    explanation = json_of(run("search", "x", "-c", "docs", "--explain", "--json"))["explanation"]
    assert explanation["traces"][0]["outcome"] == "OUTCOME_NEAR_DUPLICATE"
    assert explanation["collections"][0]["passing_count"] == "0"


def test_search_shows_reranking_only_where_there_was_one(run: Any, rag: FakeRag) -> None:
    assert "rerank" not in run("search", "x", "-c", "docs").stdout
    rag.retrieve_response.results[0].signals.rerank.CopyFrom(RerankSignal(rank=1, score=0.4375))
    shown = run("search", "x", "-c", "docs").stdout
    assert "rerank" in shown
    assert "1: 0.4375" in shown


def test_search_shows_the_score_of_a_leg_that_did_not_rank_the_chunk(run: Any, rag: FakeRag) -> None:
    rag.retrieve_response.results[0].signals.lexical.score = 0.0
    assert "not ranked: 0.000" in run("search", "x", "-c", "docs").stdout


def test_search_with_context_shows_the_neighbours_around_the_passage(run: Any, rag: FakeRag) -> None:
    result = rag.retrieve_response.results[0]
    result.context_before.add(text="x" * 200 + " just before.")
    result.context_after.add(text="Just \x1bafter. " + "y" * 200)
    shown = run("search", "charge", "-c", "docs").stdout
    before, passage, after = (
        shown.index(each) for each in ("just before.", "Batteries", "Just \ufffdafter.")
    )
    assert before < passage < after
    assert "x" * 121 not in shown
    assert "y" * 121 not in shown


@pytest.mark.parametrize("degradation", Degradation.keys()[1:])
def test_degradation_note_has_words_for_every_degradation(degradation: str) -> None:
    name = degradation.removeprefix("DEGRADATION_")
    assert f"({name})" in degradation_note([Degradation.Value(degradation)])


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
    assert request.options == RetrievalOptions()


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


def test_rerank_shows_the_passages_in_their_new_order(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.rerank_response = RerankResponse(
        passages=[RerankedPassage(index=1, score=0.75), RerankedPassage(index=0, score=-0.5)],
        score_scale=ScoreScale.SCORE_SCALE_LATE_INTERACTION,
    )
    shown = run("rerank", "why", "first\x1b[2J text", "second").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[1:3] == ["1 0.7500 2 second", "2 -0.5000 1 first\ufffd[2J text"]
    assert "late interaction" in shown
    assert json_of(run("rerank", "why", "a", "b", "--json"))["passages"][0]["index"] == 1


def test_rerank_sends_query_passages_method_and_limit(run: Any, rag: FakeRag) -> None:
    run("rerank", "why", "a", "b")
    run("rerank", "why", "a", "b", "-m", "cross-encoder", "-k", "1")
    plain, chosen = rag.calls["Rerank"]
    assert plain == RerankRequest(query="why", passages=["a", "b"])
    assert (chosen.rerank.WhichOneof("method"), chosen.top_k) == ("cross_encoder", 1)
    assert not chosen.rerank.cross_encoder.HasField("candidate_count")


def test_count_tokens_shows_the_number_of_each_text_and_whose_tokens_they_are(
    run: Any, json_of: Any, rag: FakeRag
) -> None:
    rag.token_model = CountTokensResponse(model="qwen", window_tokens=32768, is_estimated=True)
    shown = run("count-tokens", "one\x1b[2J", "three", "--model", "fast").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[1:3] == ["7 one\ufffd[2J", "5 three"]
    assert "model qwen; window 32768 tokens; estimated" in shown
    assert rag.calls["CountTokens"][0].model == "fast"
    rag.token_model = CountTokensResponse(model="extractive")
    assert "window" not in run("count-tokens", "one").stdout
    assert json_of(run("count-tokens", "one", "--json"))["token_counts"] == [3]


def test_rerank_of_a_passage_that_was_not_given_leaves_it_out(run: Any, rag: FakeRag) -> None:
    rag.rerank_response = RerankResponse(passages=[RerankedPassage(index=9, score=1.0)])
    assert "1.0000" not in run("rerank", "why", "a").stdout


def test_embed_shows_the_vectors(run: Any, json_of: Any, rag: FakeRag) -> None:
    rag.embed_response = EmbedResponse(embeddings=[Embedding(values=[0.5] * 8, token_count=3)], model="m")
    shown = run("embed", "hello").stdout
    assert "+0.5000" in shown
    assert "8" in shown
    assert json_of(run("embed", "hello", "--json"))["embeddings"][0]["values"] == [0.5] * 8
