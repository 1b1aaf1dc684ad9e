"""Every value of every enum and every field of every message travels."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.v1 import (
    bm25_pb2,
    chunking_pb2,
    collection_service_pb2,
    expansion_pb2,
    filter_pb2,
    generate_service_pb2,
    grounding_pb2,
    ingest_service_pb2,
    metadata_pb2,
    options_pb2,
    output_format_pb2,
    retrieve_service_pb2,
    retrieved_chunk_pb2,
)
from rag_server.domain.assistant import AssistantChoice, Selection
from rag_server.domain.collection import CharacterChunking, Chunking, Collection, TokenChunking
from rag_server.domain.conversation import TurnInfo
from rag_server.domain.document import Chunk, Document, NewDocument, Span
from rag_server.domain.expansion import Hyde, QueryExpansion, SearchedWith
from rag_server.domain.filter import (
    Bool,
    Comparison,
    Exists,
    Filter,
    Membership,
    Operator,
    Prefix,
    Range,
)
from rag_server.domain.generation import (
    AnswerCaching,
    Citation,
    CitationOrigin,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    PromptReport,
    Retrieved,
    Sampling,
    Started,
    Usage,
)
from rag_server.domain.grounding import (
    Fact,
    FactKind,
    Grounding,
    GroundingOptions,
    Passage,
    SentenceGrounding,
    Support,
)
from rag_server.domain.job import Job, JobError, JobKind, JobProgress, JobState, Waiting
from rag_server.domain.job_items import ItemError
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import MetadataType, MetadataValue
from rag_server.domain.output_format import RegexOutput
from rag_server.domain.page_boxes import PageBox
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import (
    Degradation,
    Leg,
    LegSignal,
    QuerySyntax,
    RetrievalRequest,
    RetrievalResult,
    ScoredChunk,
    ScoreScale,
)
from rag_server.domain.rewriting import ModelRewriting
from rag_server.domain.webhook import DeliveryState, Webhook, WebhookDelivery
from rag_server.services.wire.analysis import to_token
from rag_server.services.wire.chunk import from_score_scale, to_chunk, to_retrieved, to_score_scale
from rag_server.services.wire.collection import (
    from_bm25,
    from_chunking,
    from_new_collection,
    to_chunking,
    to_collection,
)
from rag_server.services.wire.document import from_spec, to_document
from rag_server.services.wire.filter import from_filter
from rag_server.services.wire.grounding import to_grounding
from rag_server.services.wire.job import from_states, to_job
from rag_server.services.wire.metadata import from_fields, from_map, from_value, to_fields, to_value
from rag_server.services.wire.query import (
    AnswerWriter,
    collect,
    from_question,
    to_retrieve_response,
)
from rag_server.text.analyzer import AnalyzedToken
from rag_server.text.tokens import TokenKind
from tests.unit.rag_server.services.wire.examples import EXPLANATION, FULL, absent, encode, full_options

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)

values = st.one_of(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.lists(st.text()).map(tuple),
)


@given(values)
def test_metadata_value_round_trips_with_its_type(value: MetadataValue) -> None:
    back = from_value(metadata_pb2.MetadataValue.FromString(to_value(value).SerializeToString()))
    assert back == value
    assert type(back) is type(value)


@given(st.dictionaries(st.text(), values))
def test_metadata_round_trips(metadata: dict[str, MetadataValue]) -> None:
    assert from_map({name: to_value(value) for name, value in metadata.items()}) == metadata


def test_metadata_fields_round_trip_for_every_type() -> None:
    fields = {each.value: each for each in MetadataType}
    assert from_fields(to_fields(fields)) == fields
    assert [field.name for field in to_fields(fields)] == sorted(fields)


@pytest.mark.parametrize(
    ("proto", "domain"),
    [
        (metadata_pb2.MetadataType, MetadataType),
        (ingest_service_pb2.JobState, JobState),
        (filter_pb2.ComparisonOperator, Operator),
        (generate_service_pb2.FinishReason, FinishReason),
        (retrieved_chunk_pb2.Degradation, Degradation),
        (retrieved_chunk_pb2.ScoreScale, ScoreScale),
        (options_pb2.QuerySyntax, QuerySyntax),
        (retrieve_service_pb2.TokenKind, TokenKind),
    ],
)
def test_enum_of_the_contract_has_the_values_of_the_domain(proto: Any, domain: type[Enum]) -> None:
    prefix = proto.keys()[0].removesuffix("UNSPECIFIED")
    assert {name.removeprefix(prefix) for name in proto.keys()[1:]} == {each.name for each in domain}


chunkings = st.one_of(
    st.builds(TokenChunking, st.integers(1, 512), st.floats(0, 0.5), st.booleans()),
    st.builds(CharacterChunking, st.integers(1, 10_000), st.integers(0, 5_000), st.booleans()),
)


@given(chunkings)
def test_chunking_round_trips(chunking: Chunking) -> None:
    assert from_chunking(to_chunking(chunking)) == chunking


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (chunking_pb2.Chunking(), TokenChunking()),
        (chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking()), TokenChunking()),
        (
            chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(overlap_ratio=0.0)),
            TokenChunking(overlap_ratio=0.0),
        ),
        (chunking_pb2.Chunking(characters=chunking_pb2.CharacterChunking()), CharacterChunking()),
        (
            chunking_pb2.Chunking(characters=chunking_pb2.CharacterChunking(overlap_characters=0)),
            CharacterChunking(overlap_characters=0),
        ),
    ],
)
def test_chunking_defaults_are_those_of_the_domain(
    message: chunking_pb2.Chunking, expected: Chunking
) -> None:
    assert from_chunking(message) == expected


COLLECTION = Collection(
    tenant_id="acme",
    id="books",
    uid="b" * 32,
    display_name="Books",
    description="All of them",
    language="es",
    embedding_model="hash-64",
    dimension=64,
    chunking=CharacterChunking(1000, 100, page_boxes=True),
    bm25=Bm25(0.9, 0.4),
    labels={"team": "a"},
    metadata_fields={"year": MetadataType.INTEGER},
    revision=3,
    document_count=2,
    chunk_count=7,
    create_time=NOW,
    update_time=LATER,
)


def test_collection_has_every_field() -> None:
    message = to_collection(COLLECTION)
    assert absent(message) == set()
    assert message.create_time.ToDatetime(tzinfo=UTC) == NOW
    assert message.update_time.ToDatetime(tzinfo=UTC) == LATER
    assert (message.revision, message.document_count, message.chunk_count) == (3, 2, 7)


def test_new_collection_takes_what_a_caller_may_say_and_no_more() -> None:
    new = from_new_collection("books", to_collection(replace(COLLECTION, id="ignored")))
    assert new.id == "books"
    assert (new.display_name, new.description, new.language) == ("Books", "All of them", "es")
    assert (new.chunking, new.labels) == (COLLECTION.chunking, COLLECTION.labels)
    assert new.bm25 == Bm25(0.9, 0.4)
    assert new.metadata_fields == COLLECTION.metadata_fields


def test_new_collection_without_a_language_is_multilingual() -> None:
    new = from_new_collection("books", collection_service_pb2.Collection())
    assert (new.language, new.chunking, new.bm25) == ("mul", TokenChunking(), Bm25())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (bm25_pb2.Bm25(), Bm25()),
        (bm25_pb2.Bm25(k1=0.0), Bm25(k1=0.0)),
        (bm25_pb2.Bm25(b=0.0), Bm25(b=0.0)),
    ],
)
def test_bm25_parameters_of_zero_are_not_defaults(message: bm25_pb2.Bm25, expected: Bm25) -> None:
    assert from_bm25(message) == expected


CHUNK = Chunk(
    id="c" * 32,
    tenant_id="acme",
    collection_id="books",
    document_id="a.txt",
    document_revision=2,
    ordinal=4,
    text="a passage",
    span=Span(3, 12),
    heading_path=("One", "Two"),
    token_count=2,
    page_start=5,
    page_end=6,
    title="A",
    source_uri="file:a",
    media_type="text/plain",
    metadata={"price": 1.5},
    boxes=(PageBox(5, 0, 2500, 10_000, 3333),),
)


def test_chunk_has_every_field() -> None:
    message = to_chunk(CHUNK)
    assert absent(message) == set()
    assert (message.span.start, message.span.end) == (3, 12)
    assert (message.pages.first, message.pages.last) == (5, 6)
    assert list(message.heading_path) == ["One", "Two"]
    assert message.metadata["price"].double_value == 1.5
    assert not to_chunk(replace(CHUNK, metadata={})).metadata
    assert "acme" not in str(message)
    (box,) = message.boxes
    assert (box.page, box.left, box.top, box.right, box.bottom) == (5, 0, 0.25, 1, 0.3333)


def test_chunk_without_pages_has_none() -> None:
    assert not to_chunk(replace(CHUNK, page_start=None, page_end=None)).HasField("pages")


def test_document_has_every_field() -> None:
    document = Document(
        tenant_id="acme",
        collection_id="books",
        id="a.txt",
        revision=2,
        title="A",
        source_uri="file:a",
        media_type="text/plain",
        sha256="a" * 64,
        size_bytes=9,
        language="en",
        metadata={"year": 1990},
        chunk_count=1,
        token_count=2,
        page_count=3,
        create_time=NOW,
        update_time=LATER,
    )
    message = to_document(document)
    assert {field.name for field in message.DESCRIPTOR.fields} == {
        each.name for each, _ in message.ListFields()
    }
    assert from_map(message.metadata) == {"year": 1990}
    assert not to_document(replace(document, page_count=None)).HasField("page_count")


def test_document_spec_says_all_that_a_caller_says() -> None:
    spec = ingest_service_pb2.DocumentSpec(
        document_id="a",
        title="A",
        source_uri="file:a",
        file_name="a.txt",
        media_type="text/plain",
        metadata={"year": to_value(1990)},
    )
    assert absent(spec) == set()
    assert from_spec("books", spec) == NewDocument(
        "books", "a", "A", "file:a", "a.txt", "text/plain", {"year": 1990}
    )


JOB = Job(
    tenant_id="acme",
    id="j" * 32,
    document=NewDocument("books", "a"),
    chunking=TokenChunking(),
    content_sha256="a" * 64,
    fetch_uri="",
    document_revision=2,
    state=JobState.FAILED,
    progress=JobProgress(
        *(10, 2, 3, 40, 3, 2, 1, 1),
        is_unchanged=True,
        failed_item_count=1,
        found_item_count=9,
        done_item_count=5,
        skipped_item_count=2,
        unchanged_item_count=4,
        gone_item_count=1,
    ),
    error=JobError("DOCUMENT_CORRUPT", "broken", {"page": "3"}),
    attempt_count=2,
    cancel_requested=True,
    sequence=7,
    request_id="r",
    create_time=NOW,
    start_time=NOW,
    update_time=LATER,
    end_time=LATER,
    kind=JobKind.CRAWL,
    parent_id="p" * 32,
    waiting=Waiting.FOR_CRAWL,
    item_errors=(ItemError("a/b.txt", "DOCUMENT_EMPTY", "empty", {"x": "y"}),),
    webhook=Webhook("https://a.example/?token=hush", "billing"),
)
DELIVERY = WebhookDelivery(
    "acme", "d" * 32, JOB.id, 7, Webhook("https://a.example/?token=hush", "billing"), DeliveryState.PENDING,
    *(2, 500, "WEBHOOK_REFUSED", LATER, NOW),
)  # fmt: skip


def test_job_has_every_field() -> None:
    message = to_job(JOB, delivery=DELIVERY)
    assert absent(message) == set()
    progress = message.progress
    assert (progress.size_bytes, progress.page_count, progress.chunk_count) == (10, 2, 3)
    assert (progress.token_count, progress.embedded_chunk_count, progress.indexed_chunk_count) == (40, 3, 2)
    assert (progress.parsed_page_count, progress.reused_chunk_count, progress.is_unchanged) == (1, 1, True)
    assert dict(message.error.metadata) == {"page": "3"}
    assert (progress.found_item_count, progress.done_item_count, progress.failed_item_count) == (9, 5, 1)
    assert (progress.skipped_item_count, progress.unchanged_item_count, progress.gone_item_count) == (2, 4, 1)
    (error,) = message.item_errors
    assert (error.item, error.reason, dict(error.metadata)) == ("a/b.txt", "DOCUMENT_EMPTY", {"x": "y"})
    delivery = message.webhook_delivery
    assert (delivery.attempt_count, delivery.http_status, delivery.reason) == (2, 500, "WEBHOOK_REFUSED")
    assert "hush" not in str(message)
    assert "billing" not in str(message)


def test_job_in_a_list_leaves_out_the_errors_of_its_items() -> None:
    assert absent(to_job(JOB, has_items=False)) == {"item_errors", "webhook_delivery"}


@pytest.mark.parametrize("waiting", [Waiting.FOR_NOTHING, Waiting.FOR_CHILDREN])
def test_job_that_waits_for_no_crawl_does_not_say_so(waiting: Waiting) -> None:
    assert not to_job(replace(JOB, waiting=waiting)).is_waiting_for_crawl


@pytest.mark.parametrize("kind", JobKind)
def test_job_kind_has_a_name_of_its_own(kind: JobKind) -> None:
    name = ingest_service_pb2.JobKind.Name(to_job(replace(JOB, kind=kind)).kind)
    assert name == f"JOB_KIND_{kind.name}"


@pytest.mark.parametrize("state", DeliveryState)
def test_delivery_has_a_next_attempt_only_while_it_is_pending(state: DeliveryState) -> None:
    message = to_job(JOB, delivery=replace(DELIVERY, state=state)).webhook_delivery
    assert message.state != 0
    assert message.HasField("next_attempt_time") is (state is DeliveryState.PENDING)


def test_job_that_just_came_in_has_no_end_and_no_error() -> None:
    message = to_job(replace(JOB, progress=JobProgress(), error=None, start_time=None, end_time=None))
    assert not {"error", "start_time", "end_time"} & {field.name for field, _ in message.ListFields()}
    assert not message.progress.ListFields()


@pytest.mark.parametrize("state", JobState)
def test_job_state_round_trips(state: JobState) -> None:
    assert from_states([to_job(replace(JOB, state=state)).state]) == {state}


bounds = st.one_of(st.none(), values)
leaves = st.one_of(
    st.builds(Comparison, st.text(), st.sampled_from(Operator), values),
    st.builds(Membership, st.text(), st.lists(values).map(tuple)),
    st.builds(Range, st.text(), bounds, bounds, bounds, bounds),
    st.builds(Exists, st.text()),
    st.builds(Prefix, st.text(), st.text()),
)
filters = st.recursive(
    leaves, lambda child: st.builds(Bool, *[st.lists(child, max_size=2).map(tuple)] * 3), max_leaves=6
)


@given(filters)
def test_filter_arrives_as_it_was_written(node: Filter) -> None:
    assert from_filter(filter_pb2.Filter.FromString(encode(node).SerializeToString())) == node


SCORED = ScoredChunk(
    CHUNK,
    0.25,
    {Leg.DENSE: LegSignal(1, 0.75), Leg.LEXICAL: LegSignal(2, 12.5)},
    fused_score=0.125,
    rerank=LegSignal(3, 0.25),
    context_before=(replace(CHUNK, id="b1"), replace(CHUNK, id="b2")),
    context_after=(replace(CHUNK, id="a1"),),
)


def test_retrieved_chunk_has_every_field_and_its_rank() -> None:
    first, second = to_retrieved([SCORED, ScoredChunk(CHUNK, 0.5, {Leg.LEXICAL: LegSignal(1, 3.5)})])
    assert absent(first) == set()
    assert (first.rank, second.rank) == (1, 2)
    assert (first.score, first.signals.fused_score) == (0.25, 0.125)
    assert (first.signals.dense.rank, first.signals.dense.score) == (1, 0.75)
    assert (first.signals.lexical.rank, first.signals.lexical.score) == (2, 12.5)
    assert (first.signals.rerank.rank, first.signals.rerank.score) == (3, 0.25)
    assert [each.id for each in first.context_before] == ["b1", "b2"]
    assert [each.id for each in first.context_after] == ["a1"]
    assert not second.signals.HasField("dense")
    assert not second.signals.HasField("rerank")
    assert not second.context_before


def test_leg_signal_of_no_candidate_has_a_score_and_no_rank() -> None:
    (sent,) = to_retrieved([replace(SCORED, signals={Leg.DENSE: LegSignal(None, 0.0)})])
    assert sent.signals.HasField("dense")
    assert not sent.signals.dense.HasField("rank")


@pytest.mark.parametrize("degradation", Degradation)
def test_retrieve_response_has_every_field(degradation: Degradation) -> None:
    result = RetrievalResult(
        (SCORED,),
        ScoreScale.RRF,
        (degradation,),
        {"b": 2, "a": 1},
        {"embed": 5, "fuse": 1, "total": 9},
        EXPLANATION,
    )
    message = to_retrieve_response(result)
    assert absent(message) == set()
    (sent,) = message.degradations
    assert retrieved_chunk_pb2.Degradation.Name(sent) == f"DEGRADATION_{degradation.name}"
    assert [(each.collection_id, each.revision) for each in message.collection_revisions] == [
        ("b", 2),
        ("a", 1),
    ]
    assert message.timings.total_us == 9
    assert [(each.stage, each.duration_us) for each in message.timings.stages] == [("embed", 5), ("fuse", 1)]


def test_retrieve_response_without_degradation_or_explanation_has_none() -> None:
    result = RetrievalResult((SCORED,), ScoreScale.RRF, (), {"b": 2}, {"total": 9})
    assert {"degradations", "explanation"} <= absent(to_retrieve_response(result))


@pytest.mark.parametrize("scale", ScoreScale)
def test_score_scale_is_named(scale: ScoreScale) -> None:
    assert retrieved_chunk_pb2.ScoreScale.Name(to_score_scale(scale)) == f"SCORE_SCALE_{scale.name}"
    assert from_score_scale(to_score_scale(scale)) is scale


@pytest.mark.parametrize(
    "kind", [generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest]
)
def test_question_arrives_with_its_defaults(kind: Any) -> None:
    sparse = from_question(kind(collection_ids=["books"], question="q"))
    assert sparse.retrieval.query == "q"
    assert sparse == GenerationRequest(RetrievalRequest(("books",), "q", syntax=QuerySyntax.PLAIN))
    full = kind(
        collection_ids=["b", "a"],
        question="q",
        retrieval=full_options(),
        generation=options_pb2.GenerationOptions(
            max_answer_tokens=11,
            language="es",
            model="small",
            temperature=0.5,
            top_p=0.25,
            seed=7,
            stop=["END"],
            citation_markers=options_pb2.CITATION_MARKERS_KEPT,
            max_cost=0.5,
            priority=options_pb2.GENERATION_PRIORITY_BULK,
            output=output_format_pb2.OutputFormat(regex="a+"),
            expansion=expansion_pb2.QueryExpansion(hyde={"passage_count": 2}, model="large"),
            rewriting=expansion_pb2.QuestionRewriting(model={"model": "fast"}),
            cache=options_pb2.ANSWER_CACHING_ALLOWED,
            grounding=grounding_pb2.GroundingOptions(min_score=0.25),
        ),
    )
    continued = {"conversation_id", "messages", "request_id"}  # what a question continues, see test_turn.py
    resumed = {"resume_window_ms", "resume_cursor"}  # see test_resumption.py
    others = {
        "assistant",  # see test_assistant.py
        "generation.output",  # see test_output.py
    }
    assert absent(full) - resumed - others == continued
    sampling = Sampling(0.5, 0.25, 7, ("END",))
    assert from_question(full) == GenerationRequest(
        FULL,
        11,
        "es",
        "small",
        sampling,
        keeps_markers=True,
        max_cost=0.5,
        output=RegexOutput("a+"),
        priority=Priority.BULK,
        expansion=QueryExpansion(Hyde(2), "large"),
        rewriting=ModelRewriting("fast"),
        caching=AnswerCaching.ALLOWED,
        grounding=GroundingOptions(0.25),
    )


@pytest.mark.parametrize(
    ("cache", "caching"),
    [
        (options_pb2.ANSWER_CACHING_UNSPECIFIED, AnswerCaching.REPEATABLE),
        (options_pb2.ANSWER_CACHING_ALLOWED, AnswerCaching.ALLOWED),
        (options_pb2.ANSWER_CACHING_BYPASSED, AnswerCaching.BYPASSED),
    ],
)
def test_caching_is_read(cache: Any, caching: AnswerCaching) -> None:
    options = options_pb2.GenerationOptions(cache=cache)
    request = from_question(generate_service_pb2.GenerateRequest(question="q", generation=options))
    assert request.caching is caching


def test_sampling_of_zero_is_not_the_models_own_setting() -> None:
    options = options_pb2.GenerationOptions(temperature=0, top_p=0, seed=0, max_cost=0)
    request = from_question(generate_service_pb2.GenerateRequest(question="q", generation=options))
    assert (request.sampling, request.max_cost) == (Sampling(0.0, 0.0, 0), 0.0)


REPORT = PromptReport(100, True, 4096, (3, 4), 2, "answer/1/es", 0.5)


GROUNDING = Grounding(
    (
        SentenceGrounding(
            Span(1, 9), 0.75, (Support(0, Span(2, 9), 0.5),), (Fact(FactKind.NAME, Span(1, 4), "ass"),)
        ),
    ),
    (Passage(1, CHUNK.text, "", CHUNK),),
    "acme/nli",
)

EVENTS: list[GenerationEvent] = [
    Started(
        "small",
        REPORT,
        TurnInfo("conversation", "question", "answer", 4, 2, "q words"),
        AssistantChoice(Selection.EXAMPLE, "hr", 3, "How?", 0.5),
        SearchedWith("small", ("q", "other"), ("passage",)),
    ),
    Retrieved((SCORED,), ScoreScale.RRF, (Degradation.DENSE_ONLY,), {"books": 3}),
    Delta("a pass"),
    Delta("age"),
    Cited(Citation(0, Span(1, 9), Span(2, 9), "passage")),
    Usage(12, 2),
    Finished(
        FinishReason.COMPLETE,
        {"generate": 3, "total": 4},
        "small",
        (Degradation.FALLBACK_MODEL,),
        REPORT,
        policy=PolicyReport((Redaction(Part.ANSWER, "pii", "email", 2),), "blocklist", Part.ANSWER),
        is_shared=True,
        grounding=GROUNDING,
    ),
]


@pytest.mark.parametrize("origin", CitationOrigin)
def test_citation_origin_is_named(origin: CitationOrigin) -> None:
    writer = AnswerWriter()
    writer.to_event(EVENTS[1])
    citation = writer.to_event(Cited(Citation(0, Span(0, 1), Span(0, 1), "p", origin, 0.75))).citation
    assert generate_service_pb2.CitationOrigin.Name(citation.origin) == f"CITATION_ORIGIN_{origin.name}"
    assert citation.similarity == 0.75


def test_answer_of_a_model_that_quotes_has_no_report() -> None:
    writer, response = AnswerWriter(), generate_service_pb2.GenerateResponse()
    for event in (Started("extractive"), Finished(FinishReason.COMPLETE, {"total": 1}, "extractive")):
        collect(response, writer.to_event(event))
    assert (response.model, response.HasField("prompt")) == ("extractive", False)


def test_answer_events_each_have_every_field() -> None:
    writer = AnswerWriter()
    messages = [writer.to_event(event) for event in EVENTS]
    names = [str(message.WhichOneof("event")) for message in messages]
    kinds = messages[0].DESCRIPTOR.oneofs_by_name["event"].fields
    assert {*names, "gap"} == {field.name for field in kinds}  # a gap is no event of an answer
    for name, message in zip(names, messages, strict=True):
        assert absent(getattr(message, name)) - {"source_index"} == set()  # 0 is an index


def test_answer_citation_names_chunk_and_document_of_its_source() -> None:
    writer = AnswerWriter()
    writer.to_event(EVENTS[1])
    citation = writer.to_event(EVENTS[4]).citation
    assert (citation.chunk_id, citation.document_id) == (CHUNK.id, "a.txt")


@pytest.mark.parametrize("reason", FinishReason)
def test_finish_reason_is_named(reason: FinishReason) -> None:
    finished = AnswerWriter().to_event(Finished(reason, {"total": 1})).finished
    assert generate_service_pb2.FinishReason.Name(finished.reason) == f"FINISH_REASON_{reason.name}"


def test_answer_collected_is_the_stream() -> None:
    writer, response = AnswerWriter(), generate_service_pb2.GenerateResponse()
    for event in EVENTS:
        collect(response, writer.to_event(event))
    assert absent(response) == set()
    assert response.answer == "a passage"
    assert response.prompt == writer.to_event(EVENTS[0]).started.prompt
    names = [retrieved_chunk_pb2.Degradation.Name(each) for each in response.degradations]
    assert names == ["DEGRADATION_DENSE_ONLY", "DEGRADATION_FALLBACK_MODEL"]
    assert (len(response.sources), len(response.citations)) == (1, 1)


@pytest.mark.parametrize("kind", FactKind)
def test_grounding_names_facts_and_quotes_supports(kind: FactKind) -> None:
    fact = Fact(kind, Span(1, 4), "ass")
    (sentence,) = GROUNDING.sentences
    told = to_grounding(replace(GROUNDING, sentences=(replace(sentence, missing_facts=(fact,)),)))
    assert told is not None
    (shown,) = told.sentences
    assert grounding_pb2.FactKind.Name(shown.missing_facts[0].kind) == f"FACT_KIND_{kind.name}"
    assert shown.supports[0].quote == CHUNK.text[2:9]
    assert (shown.supports[0].source_index, shown.supports[0].chunk_id) == (1, CHUNK.id)


def test_grounding_of_a_withheld_answer_has_its_figures_only() -> None:
    told = to_grounding(GROUNDING, FinishReason.LOW_GROUNDING)
    assert told is not None
    assert (told.score, told.supported_share, told.model) == (0.75, 1.0, "acme/nli")
    assert not told.sentences
    assert to_grounding(None) is None


@pytest.mark.parametrize("kind", TokenKind)
def test_analysed_token_has_every_field(kind: TokenKind) -> None:
    token = AnalyzedToken(
        surface="Ríos",
        span=Span(1, 5),
        kind=kind,
        normalized="rios",
        is_stop_word=True,
        stem="rio",
        lexeme="rio",
    )
    message = to_token(token)
    assert absent(message) == set()
    assert retrieve_service_pb2.TokenKind.Name(message.kind) == f"TOKEN_KIND_{kind.name}"
    assert not to_token(replace(token, lexeme=None)).HasField("lexeme")
