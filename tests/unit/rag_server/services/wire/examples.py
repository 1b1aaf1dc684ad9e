"""Messages with every field set, what they mean, and what of a message is not set."""

from __future__ import annotations

from google.protobuf.message import Message

from rag.v1 import filter_pb2, fusion_pb2, options_pb2, rerank_pb2, retrieved_chunk_pb2
from rag_server.domain.filter import (
    Bool,
    Comparison,
    Exists,
    Filter,
    Membership,
    Prefix,
    Range,
)
from rag_server.domain.fusion import RrfFusion
from rag_server.domain.retrieval import (
    CollectionExplanation,
    CrossEncoder,
    Drop,
    Engine,
    Explanation,
    Grouping,
    Leg,
    LegSignal,
    Mmr,
    QuerySyntax,
    RetrievalRequest,
    ScoreScale,
    ScoreThreshold,
    Trace,
)
from rag_server.services.wire.metadata import to_value


def absent(message: Message) -> set[str]:
    """Return the fields that are not set, of the message and those in it."""
    present = {descriptor.name for descriptor, _ in message.ListFields()}
    missing = {
        field.name
        for field in message.DESCRIPTOR.fields
        if field.name not in present and field.containing_oneof is None
    }
    for descriptor, value in message.ListFields():
        if descriptor.message_type and not descriptor.is_repeated:
            missing |= {f"{descriptor.name}.{name}" for name in absent(value)}
    return missing


def encode(node: Filter) -> filter_pb2.Filter:
    """The way a client writes a filter."""
    pb = filter_pb2
    match node:
        case Bool(must, should, must_not):
            parts = (list(map(encode, each)) for each in (must, should, must_not))
            return pb.Filter(
                boolean=pb.BooleanFilter(**dict(zip(("must", "should", "must_not"), parts, strict=True)))
            )
        case Comparison(field, operator, value):
            number = pb.ComparisonOperator.Value(f"COMPARISON_OPERATOR_{operator.name}")
            return pb.Filter(
                comparison=pb.ComparisonFilter(field=field, operator=number, value=to_value(value))
            )
        case Membership(field, values):
            return pb.Filter(membership=pb.MembershipFilter(field=field, values=map(to_value, values)))
        case Range():
            names = ("greater_than", "greater_or_equal", "less_than", "less_or_equal")
            bounds = {name: getattr(node, name) for name in names}
            given_bounds = {name: to_value(value) for name, value in bounds.items() if value is not None}
            return pb.Filter(range=pb.RangeFilter(field=node.field, **given_bounds))
        case Exists(field):
            return pb.Filter(exists=pb.ExistsFilter(field=field))
        case Prefix(field, prefix):
            return pb.Filter(prefix=pb.PrefixFilter(field=field, prefix=prefix))


def full_options() -> options_pb2.RetrievalOptions:
    """Every option set, to something else than its default."""
    pb = options_pb2
    return pb.RetrievalOptions(
        top_k=3,
        candidate_count=4,
        fusion=fusion_pb2.Fusion(rrf=fusion_pb2.RrfFusion(k=1, dense_weight=0.0, lexical_weight=0.5)),
        filter=encode(Exists("x")),
        rerank=rerank_pb2.Rerank(cross_encoder=rerank_pb2.CrossEncoderRerank(candidate_count=5)),
        diversity=pb.Diversity(mmr=pb.Mmr(relevance_weight=0.0)),
        duplicate_similarity=0.75,
        grouping=pb.DocumentGrouping(chunks_per_document=6),
        threshold=pb.ScoreThreshold(scale=retrieved_chunk_pb2.SCORE_SCALE_BM25, min_score=-1.5),
        context_chunks=7,
        query_syntax=pb.QUERY_SYNTAX_PLAIN,
        min_revisions=[
            retrieved_chunk_pb2.CollectionRevision(collection_id="b", revision=9),
            retrieved_chunk_pb2.CollectionRevision(collection_id="a", revision=0),
        ],
        explain=pb.Explain(chunk_ids=["c1", "c2"]),
    )


FULL = RetrievalRequest(
    collection_ids=("b", "a"),
    query="q",
    top_k=3,
    filter=Exists("x"),
    fusion=RrfFusion(1, 0.0, 0.5),
    candidate_count=4,
    rerank=CrossEncoder(5),
    diversity=Mmr(0.0),
    duplicate_similarity=0.75,
    grouping=Grouping(6),
    threshold=ScoreThreshold(ScoreScale.BM25, -1.5),
    context_chunks=7,
    syntax=QuerySyntax.PLAIN,
    min_revisions=(("b", 9), ("a", 0)),
    is_explained=True,
    traced_chunk_ids=("c1", "c2"),
)


TRACE = Trace(
    chunk_id="c1",
    drop=Drop.NEAR_DUPLICATE,
    signals={Leg.DENSE: LegSignal(3, 0.5), Leg.LEXICAL: LegSignal(None, 1.5)},
    fused_rank=4,
    fused_score=0.25,
    rerank=LegSignal(2, 0.125),
    duplicate_of="c2",
)
EXPLANATION = Explanation(
    collections=(
        CollectionExplanation(
            collection_id="b",
            engine=Engine.RESIDENT,
            lexemes=("rio", "largo"),
            chunk_count=100,
            passing_count=40,
            dense_method="hnsw",
        ),
    ),
    dense_candidate_count=50,
    lexical_candidate_count=12,
    dense_weight=0.25,
    lexical_weight=0.75,
    traces=(TRACE,),
)
