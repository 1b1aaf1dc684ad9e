"""Conditions over several fields of the messages that ask for passages.

`custom.CHECKS` says which of them holds for which message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from google.protobuf.unknown_fields import UnknownFieldSet

from rag.v1 import fusion_pb2, options_pb2, rerank_pb2, retrieve_service_pb2, retrieved_chunk_pb2
from rag_server.validation.defaults import value_or_default
from rag_server.validation.finding import Finding, repetitions

MAX_RESULTS: Final = 1000
"""The most results that a request may ask for, by documents and chunks of each."""

MAX_PASSAGES: Final = 2500
"""The most chunks that a response may bring: its results and their context."""

MAX_SOURCES: Final = 100
"""The most results that a question may ask for: an answer draws on few passages."""

MAX_BATCH_CANDIDATES: Final = 10_000
"""The most candidates that one leg may be asked for by all requests of a batch."""

MAX_BATCH_PASSAGES: Final = 10_000
"""The most chunks, context included, that the responses of a batch may bring."""

MAX_BATCH_RERANKED: Final = 2000
"""The most candidates that all requests of a batch may have reranked."""

_FUSION_SCALES: Final = {
    "rrf": retrieved_chunk_pb2.SCORE_SCALE_RRF,
    "min_max": retrieved_chunk_pb2.SCORE_SCALE_MIN_MAX,
    "z_score": retrieved_chunk_pb2.SCORE_SCALE_Z_SCORE,
    "adaptive": retrieved_chunk_pb2.SCORE_SCALE_ADAPTIVE,
}
DEFAULT_FUSION: Final = "adaptive"
"""The method of a fusion that names none."""

_RERANK_SCALES: Final = {
    "late_interaction": retrieved_chunk_pb2.SCORE_SCALE_LATE_INTERACTION,
    "cross_encoder": retrieved_chunk_pb2.SCORE_SCALE_CROSS_ENCODER,
}
_LEG_SCALES: Final = {
    "dense_weight": retrieved_chunk_pb2.SCORE_SCALE_COSINE,
    "lexical_weight": retrieved_chunk_pb2.SCORE_SCALE_BM25,
}


class _Searches(Protocol):
    """A request for passages, of whatever method."""

    @property
    def collection_ids(self) -> Sequence[str]: ...


class _Asks(_Searches, Protocol):
    @property
    def question(self) -> str: ...
    @property
    def retrieval(self) -> options_pb2.RetrievalOptions: ...


def fusion_is_known(message: fusion_pb2.Fusion) -> Iterator[Finding]:
    """A method of a later version of the contract is refused: the default would not be what was asked for."""
    if message.WhichOneof("method") is None and len(UnknownFieldSet(message)):
        names = ", ".join(_FUSION_SCALES)
        yield Finding("method", f"is not one that this server knows: {names}")


def some_weight_is_positive(message: Any) -> Iterator[Finding]:
    """At least one weight of a fusion method is above zero, with the defaults of both."""
    if not any(value_or_default(message, weight) > 0 for weight in _LEG_SCALES):
        yield Finding("", "dense_weight or lexical_weight must be above 0")


def results_are_bounded(message: options_pb2.RetrievalOptions) -> Iterator[Finding]:
    """Grouping and context multiply what `top_k` asks for; the products have limits of their own."""
    results, passages = _result_count(message), _passage_count(message)
    if message.HasField("grouping") and results > MAX_RESULTS:
        yield Finding(
            "grouping.chunks_per_document",
            f"times top_k is {results} results, the maximum is {MAX_RESULTS}",
        )
    elif message.HasField("context_chunks") and passages > MAX_PASSAGES:
        yield Finding(
            "context_chunks",
            f"with the results makes {passages} chunks, the maximum is {MAX_PASSAGES}",
        )


def threshold_is_on_a_scale_of_the_request(message: options_pb2.RetrievalOptions) -> Iterator[Finding]:
    """The threshold's scale is one of those that the stages of this request produce."""
    scale = message.threshold.scale
    if scale == retrieved_chunk_pb2.SCORE_SCALE_UNSPECIFIED or scale in _scales_of(message):
        return
    names = retrieved_chunk_pb2.ScoreScale.DESCRIPTOR.values_by_number
    if scale in names:  # another number is no value at all, which is found elsewhere
        produced = ", ".join(names[each].name for each in sorted(_scales_of(message)))
        yield Finding("threshold.scale", f"{names[scale].name} is not a scale of this request: {produced}")


def traced_chunks_are_distinct(message: options_pb2.Explain) -> Iterator[Finding]:
    """No chunk is traced twice."""
    for index in repetitions(message.chunk_ids):
        yield Finding(f"chunk_ids[{index}]", "repeats an earlier chunk")


def collections_are_distinct(message: _Searches) -> Iterator[Finding]:
    """No collection is searched twice."""
    for index in repetitions(message.collection_ids):
        yield Finding(f"collection_ids[{index}]", "repeats an earlier collection")


def min_revisions_are_searched(message: retrieve_service_pb2.RetrieveRequest) -> Iterator[Finding]:
    """`min_revisions` are of collections that the request searches, each once."""
    return _wrong_revisions(message, message.options, "options")


def min_revisions_of_a_question_are_searched(message: _Asks) -> Iterator[Finding]:
    """The same holds for a question."""
    return _wrong_revisions(message, message.retrieval, "retrieval")


def sources_are_few(message: _Asks) -> Iterator[Finding]:
    """A question asks for at most 100 results."""
    count = _result_count(message.retrieval)
    if count > MAX_SOURCES:
        if message.retrieval.HasField("grouping") and message.retrieval.top_k <= MAX_SOURCES:
            yield Finding(
                "retrieval.grouping.chunks_per_document",
                f"times top_k is {count} results, the maximum for a question is {MAX_SOURCES}",
            )
        else:
            yield Finding("retrieval.top_k", f"must be at most {MAX_SOURCES} for a question")


def question_is_not_explained(message: _Asks) -> Iterator[Finding]:
    """An answer has no place for an explanation."""
    if message.retrieval.HasField("explain"):
        yield Finding("retrieval.explain", "is for Retrieve and BatchRetrieve only")


def query_is_not_blank(message: Any) -> Iterator[Finding]:
    """`query` is more than white space."""
    if message.query and not message.query.strip():
        yield Finding("query", "is only white space")


def question_is_not_blank(message: _Asks) -> Iterator[Finding]:
    """`question` is more than white space."""
    if message.question and not message.question.strip():
        yield Finding("question", "is only white space")


def all_passages_are_reranked(message: retrieve_service_pb2.RerankRequest) -> Iterator[Finding]:
    """The passages are the candidates, so that counting them is not for the caller."""
    method = message.rerank.WhichOneof("method")
    if method and getattr(message.rerank, method).HasField("candidate_count"):
        yield Finding(f"rerank.{method}.candidate_count", "is not for Rerank: all passages are scored")


def batch_is_bounded(message: retrieve_service_pb2.BatchRetrieveRequest) -> Iterator[Finding]:
    """What all requests together ask for has limits, with the defaults."""
    candidates = passages = reranked = 0
    for each in message.requests:
        taken = max(_result_count(each.options), value_or_default(each.options, "candidate_count"))
        candidates += taken * len(each.collection_ids)
        passages += _passage_count(each.options)
        reranked += _reranked_count(each.options)
    for count, maximum, what in (
        (
            candidates,
            MAX_BATCH_CANDIDATES,
            "the greater of candidate_count and the number of results, times the number of collections,",
        ),
        (passages, MAX_BATCH_PASSAGES, "the number of results and of their chunks of context"),
        (reranked, MAX_BATCH_RERANKED, "the number of candidates to rerank"),
    ):
        if count > maximum:
            yield Finding(
                "requests", f"{what} is {count} for all requests together, the maximum is {maximum}"
            )
            return  # one tells enough: the same field made the others large, or they come next time


def _wrong_revisions(
    message: _Searches, options: options_pb2.RetrievalOptions, path: str
) -> Iterator[Finding]:
    searched = set(message.collection_ids)
    named = [each.collection_id for each in options.min_revisions]
    for index in repetitions(named):
        yield Finding(f"{path}.min_revisions[{index}].collection_id", "repeats an earlier collection")
    for index, each in enumerate(options.min_revisions):
        if searched and each.collection_id not in searched:  # none: an assistant names them, or nobody
            yield Finding(f"{path}.min_revisions[{index}].collection_id", "is not one of collection_ids")
        if each.revision < 0:
            yield Finding(f"{path}.min_revisions[{index}].revision", "must be at least 0")


def _result_count(options: options_pb2.RetrievalOptions) -> int:
    """Return the greatest number of results, whatever brings them together."""
    count = int(value_or_default(options, "top_k"))
    if options.HasField("grouping"):
        count *= int(value_or_default(options.grouping, "chunks_per_document"))
    return count


def _passage_count(options: options_pb2.RetrievalOptions) -> int:
    """Return the greatest number of chunks in a response, context included."""
    return _result_count(options) * (2 * int(value_or_default(options, "context_chunks")) + 1)


def _reranked_count(options: options_pb2.RetrievalOptions) -> int:
    """Return how many candidates are scored again: those asked for, at least `top_k`."""
    method = _chosen(options.rerank)
    if not method:
        return 0
    counts = (
        value_or_default(getattr(options.rerank, method), "candidate_count"),
        value_or_default(options, "top_k"),
    )
    return int(max(counts))


def _chosen(rerank: rerank_pb2.Rerank) -> str:
    """Return the name of the method; empty when none is chosen."""
    return rerank.WhichOneof("method") or ""


def _scales_of(options: options_pb2.RetrievalOptions) -> set[int]:
    """Return the scales of the scores that the stages of a request produce."""
    fusion = options.fusion.WhichOneof("method") or DEFAULT_FUSION
    parameters = getattr(options.fusion, fusion)
    scales: set[int] = {_FUSION_SCALES[fusion]}
    scales |= {scale for weight, scale in _LEG_SCALES.items() if value_or_default(parameters, weight) > 0}
    method = _chosen(options.rerank)
    return scales | {_RERANK_SCALES[method]} if method else scales
