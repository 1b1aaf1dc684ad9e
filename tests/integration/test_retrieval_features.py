"""Each option of retrieval over gRPC, once, and what wrong input gets, with the real model and stores."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import (
    bm25_pb2,
    chunking_pb2,
    explanation_pb2,
    filter_pb2,
    fusion_pb2,
    metadata_pb2,
    options_pb2,
    rerank_pb2,
    retrieved_chunk_pb2,
    retriever_pb2,
)
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import retrieve_service_pb2 as pb
from tests.faults.wire import methods, send
from tests.rag_client import RagClient, ServerUnderTest, failure, failure_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODE = grpc.StatusCode
NAN = float("nan")
PARTS = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=24, overlap_ratio=0))
GUIDE = "\n\n".join(
    [
        "The kitchen opens at seven in the morning and closes at noon on Sundays.",
        "A grey heron waits by the river at dawn and eats small fish and frogs.",
        "Bread with rye flour needs a long fermentation and a very hot oven.",
    ]
)
TEXTS = {
    "heron": "The grey heron waits by the river at dawn. It eats small fish and frogs.",
    "copy": "The grey heron waits by the river at dawn. It eats small fish and frogs!",
    "crane": "The white crane dances near a lake in spring.",
    "bread": "Rye bread needs a long fermentation in a warm place.",
    "invoice": "Form DTE-33 has to be filed with the tax authority every month.",
}
QUERY = "where does the grey heron wait?"


def new_name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stocked(server: ServerUnderTest) -> str:
    """Return the name of an English collection that the tests of this module read."""
    name = new_name()
    await server.client.create_collection(name, language="en")
    for number, (document_id, text) in enumerate(TEXTS.items()):
        metadata = {"number": metadata_pb2.MetadataValue(integer_value=number)}
        await server.client.ingest_text(name, text, document_id, metadata=metadata)
    await server.client.ingest_text(name, GUIDE, "guide", chunking=PARTS)
    return name


def found(response: pb.RetrieveResponse) -> list[str]:
    return [each.chunk.document_id for each in response.results]


def stages(response: pb.RetrieveResponse) -> set[str]:
    return {each.stage for each in response.timings.stages}


def late_interaction(**fields: int) -> rerank_pb2.Rerank:
    return rerank_pb2.Rerank(late_interaction=rerank_pb2.LateInteractionRerank(**fields))


CROSS_ENCODER = rerank_pb2.Rerank(cross_encoder=rerank_pb2.CrossEncoderRerank())


# Options


@pytest.mark.parametrize(
    ("fusion", "scale"),
    [
        (None, "ADAPTIVE"),
        (fusion_pb2.Fusion(adaptive=fusion_pb2.AdaptiveFusion(dense_weight=2)), "ADAPTIVE"),
        (fusion_pb2.Fusion(rrf=fusion_pb2.RrfFusion(k=10)), "RRF"),
        (fusion_pb2.Fusion(min_max=fusion_pb2.MinMaxFusion()), "MIN_MAX"),
        (fusion_pb2.Fusion(z_score=fusion_pb2.ZScoreFusion(lexical_weight=0.5)), "Z_SCORE"),
    ],
)
async def test_fusion_by_each_method_says_what_its_scores_mean(
    client: RagClient, stocked: str, fusion: fusion_pb2.Fusion | None, scale: str
) -> None:
    response = await client.search(stocked, "grey heron river dawn fish", fusion=fusion)
    assert retrieved_chunk_pb2.ScoreScale.Name(response.score_scale) == f"SCORE_SCALE_{scale}"
    assert set(found(response)[:3]) == {"heron", "copy", "guide"}
    scores = [each.score for each in response.results]
    assert scores == sorted(scores, reverse=True)
    assert scores == [each.signals.fused_score for each in response.results]


@pytest.mark.parametrize(
    ("weights", "missing"),
    [({"dense_weight": 0.0}, "dense"), ({"lexical_weight": 0.0}, "lexical")],
)
async def test_fusion_leg_of_weight_zero_is_left_out(
    client: RagClient, stocked: str, weights: dict[str, float], missing: str
) -> None:
    fusion = fusion_pb2.Fusion(adaptive=fusion_pb2.AdaptiveFusion(**weights))
    response = await client.search(stocked, "grey heron", fusion=fusion)
    assert response.results
    assert not any(each.signals.HasField(missing) for each in response.results)  # type: ignore[arg-type]  # a name
    assert not response.degradations


async def test_rerank_by_late_interaction_orders_by_its_scores(client: RagClient, stocked: str) -> None:
    response = await client.search(stocked, QUERY, rerank=late_interaction(candidate_count=8), top_k=3)
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_LATE_INTERACTION
    assert set(found(response)) == {"heron", "copy", "guide"}
    assert [each.signals.rerank.rank for each in response.results] == [1, 2, 3]
    assert [each.score for each in response.results] == [
        each.signals.rerank.score for each in response.results
    ]
    assert not response.degradations
    assert "rerank" in stages(response)


async def test_rerank_by_a_model_that_the_server_lacks_is_refused(client: RagClient, stocked: str) -> None:
    for call in (
        client.search(stocked, QUERY, rerank=CROSS_ENCODER),
        client.retrieve.Rerank(pb.RerankRequest(query="x", passages=["y"], rerank=CROSS_ENCODER)),
    ):
        refused = await failure(call)
        assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "RERANKER_NOT_CONFIGURED")


async def test_rerank_rpc_orders_the_callers_own_passages(client: RagClient) -> None:
    passages = [TEXTS["bread"], TEXTS["heron"], TEXTS["invoice"]]
    response = await client.retrieve.Rerank(pb.RerankRequest(query=QUERY, passages=passages, top_k=2))
    assert response.passages[0].index == 1
    assert len(response.passages) == 2
    assert response.passages[0].score > response.passages[1].score
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_LATE_INTERACTION


async def test_mmr_prefers_what_differs(client: RagClient, stocked: str) -> None:
    similar = await client.search(stocked, QUERY, top_k=2)
    diverse = await client.search(
        stocked,
        QUERY,
        top_k=2,
        diversity=options_pb2.Diversity(mmr=options_pb2.Mmr(relevance_weight=0.1)),
    )
    assert set(found(similar)) <= {"heron", "copy", "guide"}
    assert found(diverse)[0] == found(similar)[0]
    assert not {"heron", "copy"} <= set(found(diverse))


async def test_near_duplicates_are_left_out(client: RagClient, stocked: str) -> None:
    response = await client.search(stocked, QUERY, duplicate_similarity=0.9)
    assert len({"heron", "copy"} & set(found(response))) == 1
    assert {"crane", "bread", "invoice"} <= set(found(response))


async def test_grouping_brings_chunks_of_a_document_together(client: RagClient, stocked: str) -> None:
    grouping = options_pb2.DocumentGrouping(chunks_per_document=2)
    response = await client.search(
        stocked, "kitchen heron bread oven river", grouping=grouping, top_k=4, candidate_count=50
    )
    names = found(response)
    assert len(set(names)) == 4
    assert names.count("guide") == 2
    assert names == sorted(names, key=names.index)


async def test_threshold_leaves_out_what_is_below_it(client: RagClient, stocked: str) -> None:
    everything = await client.search(stocked, "grey heron")
    cosines = sorted(each.signals.dense.score for each in everything.results)
    threshold = options_pb2.ScoreThreshold(
        scale=retrieved_chunk_pb2.SCORE_SCALE_COSINE, min_score=cosines[-3]
    )
    kept = await client.search(stocked, "grey heron", threshold=threshold)
    assert sorted(each.signals.dense.score for each in kept.results) == cosines[-3:]


async def test_context_comes_with_the_result(client: RagClient, stocked: str) -> None:
    response = await client.search(stocked, '"eats small fish and frogs" guide', context_chunks=1, top_k=10)
    (result,) = [each for each in response.results if each.chunk.document_id == "guide"]
    assert [each.ordinal for each in result.context_before] == [0]
    assert [each.ordinal for each in result.context_after] == [2]
    assert "kitchen" in result.context_before[0].text
    assert "oven" in result.context_after[0].text


async def test_query_operators_hold_and_plain_syntax_has_none(client: RagClient, stocked: str) -> None:
    assert set(found(await client.search(stocked, 'bread "long fermentation" -oven'))) == {"bread"}
    assert set(found(await client.search(stocked, "DTE-33 -heron -crane -kitchen -bread"))) == {"invoice"}
    plain = await client.search(
        stocked, 'bread "long fermentation" -oven', query_syntax=options_pb2.QUERY_SYNTAX_PLAIN
    )
    assert "guide" in found(plain)
    assert len(set(found(plain))) > 1


async def test_question_with_quotes_and_dashes_has_no_operators(client: RagClient, stocked: str) -> None:
    response = await client.generate.Generate(
        generate_pb.GenerateRequest(
            collection_ids=[stocked], question='What does the "grey heron of the sea" eat? -fish'
        )
    )
    assert {each.chunk.document_id for each in response.sources} >= {"heron"}


async def test_stop_words_alone_are_answered_by_the_vectors_and_that_is_said(
    client: RagClient, stocked: str
) -> None:
    response = await client.search(stocked, "the of and")
    assert list(response.degradations) == [retrieved_chunk_pb2.DEGRADATION_DENSE_ONLY]
    assert response.results


async def test_generate_takes_the_options_of_retrieval(client: RagClient, stocked: str) -> None:
    response = await client.generate.Generate(
        generate_pb.GenerateRequest(
            collection_ids=[stocked],
            question="What does the grey heron eat?",
            retrieval=options_pb2.RetrievalOptions(
                top_k=2, rerank=late_interaction(), duplicate_similarity=0.9
            ),
        )
    )
    assert "fish" in response.answer
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_LATE_INTERACTION


# Explanations


async def test_explain_tells_what_was_searched_and_where_chunks_went(client: RagClient, stocked: str) -> None:
    everything = await client.search(stocked, "grey heron", top_k=20)
    by_document = {each.chunk.document_id: each.chunk.id for each in everything.results}
    only_birds = filter_pb2.Filter(
        range=filter_pb2.RangeFilter(
            field="metadata.number", less_than=metadata_pb2.MetadataValue(integer_value=3)
        )
    )
    traced = [by_document["heron"], by_document["bread"], "no-such-chunk", by_document["crane"]]
    response = await client.search(
        stocked, "grey heron", top_k=1, filter=only_birds, explain=options_pb2.Explain(chunk_ids=traced)
    )
    explanation = response.explanation
    (collection,) = explanation.collections
    assert collection.collection_id == stocked
    assert list(collection.lexemes) == ["grey", "heron"]
    assert explanation.dense_weight + explanation.lexical_weight == pytest.approx(1)
    assert [each.chunk_id for each in explanation.traces] == traced
    outcomes = {each.chunk_id: each.outcome for each in explanation.traces}
    assert outcomes[by_document["bread"]] == explanation_pb2.OUTCOME_FILTERED
    assert outcomes["no-such-chunk"] == explanation_pb2.OUTCOME_ABSENT
    assert outcomes[by_document["crane"]] == explanation_pb2.OUTCOME_BELOW_TOP_K
    returned = response.results[0].chunk.id
    assert (outcomes[by_document["heron"]] == explanation_pb2.OUTCOME_RETURNED) == (
        returned == by_document["heron"]
    )


# Revisions, memory, caches


def revision(collection_id: str, number: int) -> retrieved_chunk_pb2.CollectionRevision:
    return retrieved_chunk_pb2.CollectionRevision(collection_id=collection_id, revision=number)


async def test_min_revision_of_a_write_that_was_answered_is_searched(
    client: RagClient, collection: str
) -> None:
    await client.ingest_text(collection, TEXTS["heron"], "heron")
    deleted = await client.documents.DeleteDocument(
        document_pb.DeleteDocumentRequest(collection_id=collection, document_id="heron")
    )
    response = await client.search(
        collection, "heron", min_revisions=[revision(collection, deleted.collection_revision)]
    )
    assert response.collection_revisions[0].revision == deleted.collection_revision == 2
    assert not response.results


async def test_min_revision_that_is_not_reached_before_the_deadline_is_named(
    client: RagClient, collection: str
) -> None:
    request = pb.RetrieveRequest(
        collection_ids=[collection],
        query="heron",
        options=options_pb2.RetrievalOptions(min_revisions=[revision(collection, 7)]),
    )
    refused = await failure(client.retrieve.Retrieve(request, timeout=1.0))
    assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "REVISION_NOT_REACHED")
    assert refused.metadata == {"collection": collection, "revision": "0"}


async def test_second_query_is_answered_from_memory_and_server_info_shows_it(
    client: RagClient, collection: str
) -> None:
    await client.ingest_text(collection, TEXTS["heron"], "heron")
    await client.search(collection, "heron")
    explained = await client.search(collection, "grey heron", explain=options_pb2.Explain())
    (searched,) = explained.explanation.collections
    assert searched.engine == retriever_pb2.RETRIEVAL_ENGINE_RESIDENT
    assert searched.dense_method == retriever_pb2.DENSE_METHOD_EXACT
    assert (searched.chunk_count, searched.passing_count) == (1, 1)
    info = await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
    (retriever,) = [each for each in info.retrievers if each.collection_id == collection]
    assert retriever.state == retriever_pb2.RETRIEVER_STATE_SERVING
    assert (retriever.revision, retriever.chunk_count) == (1, 1)
    assert retriever.query_count >= 1
    assert retriever.size_bytes > 384 * 4
    assert retriever.load_source == retriever_pb2.LOAD_SOURCE_STORE
    assert retriever.HasField("build_time")
    assert list(info.rerankers) == ["late_interaction"]


async def test_write_is_in_memory_before_its_answer(client: RagClient, collection: str) -> None:
    await client.ingest_text(collection, TEXTS["heron"], "heron")
    await client.search(collection, "heron")
    for number in range(3):
        await client.ingest_text(collection, f"heron number {number}", f"more{number}")
        assert f"more{number}" in found(await client.search(collection, "heron"))
        await client.documents.DeleteDocument(
            document_pb.DeleteDocumentRequest(collection_id=collection, document_id=f"more{number}")
        )
        assert found(await client.search(collection, "heron")) == ["heron"]


async def test_same_query_again_comes_from_the_cache_until_a_commit(
    client: RagClient, collection: str
) -> None:
    async def hits() -> dict[str, int]:
        info = await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
        assert all(each.size_bytes <= each.limit_bytes for each in info.caches)
        return {each.name: each.hit_count for each in info.caches}

    await client.ingest_text(collection, TEXTS["heron"], "heron")
    query = f"heron {collection}"
    first = await client.search(collection, query)
    before = await hits()
    second = await client.search(collection, query)
    assert stages(second) == {"cache"}
    assert second.results == first.results
    after = await hits()
    assert set(after) == {"embeddings", "results", "sentences"}
    assert after["results"] == before["results"] + 1
    await client.ingest_text(collection, TEXTS["copy"], "copy")
    third = await client.search(collection, query)
    assert set(found(third)) == {"heron", "copy"}
    assert "search" in stages(third)
    assert (await hits())["embeddings"] == after["embeddings"] + 1


async def test_bm25_parameters_of_a_collection_count(client: RagClient) -> None:
    texts = {"once": "heron", "often": "heron heron heron heron", "long": "heron " + "lake " * 30}

    async def scores(bm25: bm25_pb2.Bm25 | None) -> dict[str, float]:
        name = new_name()
        created = await client.create_collection(name, language="en", bm25=bm25)
        assert (created.bm25.k1, created.bm25.b) == ((bm25.k1, bm25.b) if bm25 else (1.2, 0.75))
        for document_id, text in texts.items():
            await client.ingest_text(name, text, document_id)
        response = await client.search(name, "heron")
        return {each.chunk.document_id: each.signals.lexical.score for each in response.results}

    flat = await scores(bm25_pb2.Bm25(k1=0, b=0))
    assert set(flat) == set(texts)
    assert max(flat.values()) == pytest.approx(min(flat.values()))
    usual = await scores(None)
    assert usual["often"] > usual["once"] > usual["long"]


# Wrong input


def rrf(**weights: float) -> fusion_pb2.Fusion:
    return fusion_pb2.Fusion(rrf=fusion_pb2.RrfFusion(**weights))


def threshold(scale: str, min_score: float) -> options_pb2.ScoreThreshold:
    number = retrieved_chunk_pb2.ScoreScale.Value(f"SCORE_SCALE_{scale}")
    return options_pb2.ScoreThreshold(scale=number, min_score=min_score)


def mmr(relevance_weight: float) -> options_pb2.Diversity:
    return options_pb2.Diversity(mmr=options_pb2.Mmr(relevance_weight=relevance_weight))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "weight not a number": ({"fusion": rrf(dense_weight=NAN)}, "options.fusion.rrf.dense_weight"),
    "weight infinite": ({"fusion": rrf(lexical_weight=float("inf"))}, "options.fusion.rrf.lexical_weight"),
    "weight negative": ({"fusion": rrf(dense_weight=-1)}, "options.fusion.rrf.dense_weight"),
    "weights all zero": ({"fusion": rrf(dense_weight=0, lexical_weight=0)}, "options.fusion.rrf"),
    "adaptive weights all zero": (
        {"fusion": fusion_pb2.Fusion(adaptive=fusion_pb2.AdaptiveFusion(dense_weight=0, lexical_weight=0))},
        "options.fusion.adaptive",
    ),
    "threshold not a number": ({"threshold": threshold("COSINE", NAN)}, "options.threshold.min_score"),
    "threshold on no scale": ({"threshold": options_pb2.ScoreThreshold()}, "options.threshold.scale"),
    "threshold on a scale that is not made": ({"threshold": threshold("RRF", 0)}, "options.threshold.scale"),
    "top_k zero": ({"top_k": 0}, "options.top_k"),
    "top_k a billion": ({"top_k": 1_000_000_000}, "options.top_k"),
    "top_k negative": ({"top_k": -1}, "options.top_k"),
    "candidates too many": ({"candidate_count": 1_000_000}, "options.candidate_count"),
    "rerank too many": (
        {"rerank": late_interaction(candidate_count=1000)},
        "options.rerank.late_interaction.candidate_count",
    ),
    "rerank without a method": ({"rerank": rerank_pb2.Rerank()}, "options.rerank.method"),
    "diversity not a number": ({"diversity": mmr(NAN)}, "options.diversity.mmr.relevance_weight"),
    "diversity above one": ({"diversity": mmr(1.5)}, "options.diversity.mmr.relevance_weight"),
    "duplicates not a number": ({"duplicate_similarity": NAN}, "options.duplicate_similarity"),
    "duplicates of nothing alike": ({"duplicate_similarity": 0.1}, "options.duplicate_similarity"),
    "groups of nothing": (
        {"grouping": options_pb2.DocumentGrouping(chunks_per_document=0)},
        "options.grouping.chunks_per_document",
    ),
    "context too wide": ({"context_chunks": 11}, "options.context_chunks"),
    "revision of another collection": (
        {"min_revisions": [revision("another", 1)]},
        "options.min_revisions[0].collection_id",
    ),
    "trace of too many": (
        {"explain": options_pb2.Explain(chunk_ids=[str(number) for number in range(21)])},
        "options.explain.chunk_ids",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_retrieve_with_wrong_options_names_the_field(
    client: RagClient, stocked: str, case: str
) -> None:
    options, path = WRONG[case]
    refused = await failure(client.search(stocked, "heron", **options))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert list(refused.violations) == [path]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "INVALID_REQUEST"),
        (" \n\t", "INVALID_REQUEST"),
        ("x" * 100_000, "INVALID_REQUEST"),
        ("-heron", "QUERY_HAS_NO_TERMS"),
        ('-"grey heron" -crane', "QUERY_HAS_NO_TERMS"),
    ],
    ids=["empty", "blank", "100000 characters", "exclusion", "exclusions"],
)
async def test_retrieve_of_a_query_that_asks_nothing_or_too_much_names_it(
    client: RagClient, stocked: str, query: str, reason: str
) -> None:
    refused = await failure(client.search(stocked, query))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, reason)
    assert list(refused.violations) == ["query"]


async def test_retrieve_with_an_unknown_filter_field_names_it(client: RagClient, stocked: str) -> None:
    unknown = filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="metadata.nope"))
    refused = await failure(client.search(stocked, "heron", filter=unknown))
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "UNKNOWN_FILTER_FIELD")
    assert list(refused.violations) == ["options.filter.exists.field"]


async def test_retrieve_with_a_filter_of_5_000_levels_is_refused(client: RagClient, stocked: str) -> None:
    """Put together as bytes: no client library would encode it."""

    def nested(number: int, content: bytes) -> bytes:
        length, size = b"", len(content)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    deep = filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="source_uri")).SerializeToString()
    for _ in range(5_000):
        deep = nested(1, nested(1, deep))
    request = nested(1, stocked.encode()) + nested(2, b"heron") + nested(3, nested(2, deep))
    (method,) = [each for each in methods() if str(each) == "Retrieve"]
    error = await send(client.channel, method, request)
    assert error is not None
    refused = failure_of(error)
    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")
    assert found(await client.search(stocked, "heron"))


async def test_unknown_language_is_refused_by_whatever_takes_one(client: RagClient) -> None:
    created = await failure(client.create_collection(new_name(), language="tlh"))
    analyzed = await failure(client.retrieve.Analyze(pb.AnalyzeRequest(text="x", language="tlh")))
    assert {each.reason for each in (created, analyzed)} == {"UNSUPPORTED_LANGUAGE"}
    assert [*created.violations, *analyzed.violations] == ["collection.language", "language"]


@pytest.mark.parametrize(
    ("bm25", "path"),
    [
        (bm25_pb2.Bm25(k1=NAN), "collection.bm25.k1"),
        (bm25_pb2.Bm25(k1=-1), "collection.bm25.k1"),
        (bm25_pb2.Bm25(b=1.5), "collection.bm25.b"),
    ],
)
async def test_create_collection_with_wrong_bm25_names_the_field(
    client: RagClient, bm25: bm25_pb2.Bm25, path: str
) -> None:
    refused = await failure(client.create_collection(new_name(), bm25=bm25))
    assert (refused.code, list(refused.violations)) == (CODE.INVALID_ARGUMENT, [path])


async def test_rerank_of_too_many_passages_names_the_field(client: RagClient) -> None:
    refused = await failure(client.retrieve.Rerank(pb.RerankRequest(query="x", passages=["y"] * 201)))
    assert (refused.code, list(refused.violations)) == (CODE.INVALID_ARGUMENT, ["passages"])


async def test_batch_retrieve_names_the_option_that_is_wrong(client: RagClient, stocked: str) -> None:
    requests = [
        pb.RetrieveRequest(collection_ids=[stocked], query="heron"),
        pb.RetrieveRequest(
            collection_ids=[stocked],
            query="heron",
            options=options_pb2.RetrievalOptions(threshold=threshold("BM25", NAN)),
        ),
    ]
    refused = await failure(client.retrieve.BatchRetrieve(pb.BatchRetrieveRequest(requests=requests)))
    assert list(refused.violations) == ["requests[1].options.threshold.min_score"]


async def test_collection_bm25_cannot_be_changed(client: RagClient, collection: str) -> None:
    refused = await failure(
        client.collections.UpdateCollection(
            collection_pb.UpdateCollectionRequest(
                collection_id=collection,
                collection=collection_pb.Collection(bm25=bm25_pb2.Bm25(k1=2)),
                update_mask=FieldMask(paths=["bm25"]),
            )
        )
    )
    assert (refused.code, list(refused.violations)) == (CODE.INVALID_ARGUMENT, ["update_mask.paths[0]"])
