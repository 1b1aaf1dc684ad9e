"""Conditions that the contract's comments state in words, over several fields of one message.

Each is a function that yields a `Finding` for everything that is wrong; `CHECKS` says for which
message. They run after the constraints of `rules.FIELD_RULES` and whatever those have found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from rag.v1 import (
    chunking_pb2,
    collection_service_pb2,
    filter_pb2,
    fusion_pb2,
    ingest_service_pb2,
    metadata_pb2,
    options_pb2,
    retrieve_service_pb2,
)
from rag_server.validation.defaults import value_or_default
from rag_server.validation.paths import entry_path
from rag_server.validation.rules import METADATA_KEY

MAX_LABEL_CHARACTERS: Final = 128
"""The greatest length of a label's key and of its value, in code points."""

UPDATABLE_FIELDS: Final = ("display_name", "description", "labels", "chunking", "metadata_fields")
"""What an `update_mask` may name."""

MAX_SOURCES: Final = 100
"""The greatest `top_k` of a question: an answer draws on few passages."""

MAX_BATCH_CANDIDATES: Final = 10_000
"""The most candidates that one leg may be asked for by all requests of a batch."""

MAX_METADATA_BYTES: Final = 16_384
"""The greatest size of a document's metadata, keys included, as encoded in protobuf."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_HAS_CONTROLS: Final = "has a control character other than tab, line feed and carriage return"
_METADATA_KEY: Final = re.compile(METADATA_KEY)
_ORDERED_KINDS: Final = frozenset({"integer_value", "double_value", "timestamp_value"})
_ORDERING: Final = frozenset(
    {
        filter_pb2.COMPARISON_OPERATOR_LESS,
        filter_pb2.COMPARISON_OPERATOR_LESS_OR_EQUAL,
        filter_pb2.COMPARISON_OPERATOR_GREATER,
        filter_pb2.COMPARISON_OPERATOR_GREATER_OR_EQUAL,
    }
)


class Finding(NamedTuple):
    """A violation, seen from the message."""

    path: str
    """Relative to the message; empty for the message itself."""
    description: str


Check = Callable[[Any], Iterable[Finding]]


class _SearchesCollections(Protocol):
    @property
    def collection_ids(self) -> Iterable[str]: ...


class _Asks(Protocol):
    @property
    def question(self) -> str: ...
    @property
    def retrieval(self) -> options_pb2.RetrievalOptions: ...


def overlap_is_at_most_half(message: chunking_pb2.CharacterChunking) -> Iterator[Finding]:
    """`overlap_characters` is at most half of `max_characters`, with the defaults of both."""
    overlap = value_or_default(message, "overlap_characters")
    maximum = value_or_default(message, "max_characters")
    if 2 * overlap > maximum:
        yield Finding("overlap_characters", f"{overlap} is more than half of max_characters, {maximum}")


def labels_are_short(message: collection_service_pb2.Collection) -> Iterator[Finding]:
    """Keys and values of `labels` have at most 128 code points."""
    for key, value in message.labels.items():
        for part, text in (("key", key), ("value", value)):
            if len(text) > MAX_LABEL_CHARACTERS:
                yield Finding(
                    entry_path("labels", key),
                    f"the {part} has {len(text)} code points, the maximum is {MAX_LABEL_CHARACTERS}",
                )


def declared_names_are_distinct(message: collection_service_pb2.Collection) -> Iterator[Finding]:
    """No two `metadata_fields` have the same name."""
    names = [field.name for field in message.metadata_fields]
    for index in _repetitions(names):
        yield Finding(f"metadata_fields[{index}].name", "repeats the name of an earlier field")


def update_mask_is_updatable(
    message: collection_service_pb2.UpdateCollectionRequest,
) -> Iterator[Finding]:
    """`update_mask` names at least one field, and only fields that can change."""
    if message.HasField("update_mask") and not message.update_mask.paths:
        yield Finding("update_mask", "names no field")
    for index, path in enumerate(message.update_mask.paths):
        if path not in UPDATABLE_FIELDS:
            yield Finding(f"update_mask.paths[{index}]", f"must be one of {', '.join(UPDATABLE_FIELDS)}")


def boolean_has_conditions(message: filter_pb2.BooleanFilter) -> Iterator[Finding]:
    """At least one of the three lists is not empty."""
    if not (message.must or message.should or message.must_not):
        yield Finding("", "must, should and must_not are all empty")


def ordering_has_ordered_value(message: filter_pb2.ComparisonFilter) -> Iterator[Finding]:
    """The ordering operators need a number or an instant."""
    if message.operator in _ORDERING and _is_unordered(message.value):
        yield Finding("value", "an ordering operator needs a number or an instant")


def range_is_bounded(message: filter_pb2.RangeFilter) -> Iterator[Finding]:
    """At least one bound is set, of a pair at most one; each is a number or an instant."""
    bounds = {field.name: value for field, value in message.ListFields() if field.name != "field"}
    if not bounds:
        yield Finding("", "at least one bound is required")
    for exclusive, inclusive in (("greater_than", "greater_or_equal"), ("less_than", "less_or_equal")):
        if exclusive in bounds and inclusive in bounds:
            yield Finding(inclusive, f"cannot be set together with {exclusive}")
    for bound, value in bounds.items():
        if _is_unordered(value):
            yield Finding(bound, "must be a number or an instant")


def some_weight_is_positive(message: fusion_pb2.RrfFusion) -> Iterator[Finding]:
    """At least one weight is above zero, with the defaults of both."""
    if not any(value_or_default(message, weight) > 0 for weight in ("dense_weight", "lexical_weight")):
        yield Finding("", "dense_weight or lexical_weight must be above 0")


def metadata_keys_are_names(message: ingest_service_pb2.DocumentSpec) -> Iterator[Finding]:
    """The keys of `metadata` are names, so that a filter can address them."""
    for key in message.metadata:
        if not _METADATA_KEY.fullmatch(key):
            yield Finding(entry_path("metadata", key), f"the key must match {METADATA_KEY}")


def collections_are_distinct(message: _SearchesCollections) -> Iterator[Finding]:
    """No collection is searched twice."""
    for index in _repetitions(message.collection_ids):
        yield Finding(f"collection_ids[{index}]", "repeats an earlier collection")


def sources_are_few(message: _Asks) -> Iterator[Finding]:
    """`top_k` is at most 100 for a question."""
    top_k = message.retrieval.top_k
    if top_k > MAX_SOURCES:
        yield Finding("retrieval.top_k", f"must be at most {MAX_SOURCES} for a question")


def query_is_not_blank(message: retrieve_service_pb2.RetrieveRequest) -> Iterator[Finding]:
    """`query` is more than white space."""
    if message.query and not message.query.strip():
        yield Finding("query", "is only white space")


def question_is_not_blank(message: _Asks) -> Iterator[Finding]:
    """`question` is more than white space."""
    if message.question and not message.question.strip():
        yield Finding("question", "is only white space")


def batch_is_bounded(message: retrieve_service_pb2.BatchRetrieveRequest) -> Iterator[Finding]:
    """All requests together ask a leg for at most 10 000 candidates, with the defaults."""
    candidates = sum(
        max(value_or_default(each.options, name) for name in ("top_k", "candidate_count"))
        * len(each.collection_ids)
        for each in message.requests
    )
    if candidates > MAX_BATCH_CANDIDATES:
        yield Finding(
            "requests",
            "the greater of top_k and candidate_count, times the number of collections, "
            f"is {candidates} for all requests together, the maximum is {MAX_BATCH_CANDIDATES}",
        )


def metadata_is_storable(message: ingest_service_pb2.DocumentSpec) -> Iterator[Finding]:
    """The metadata is not too large for a row of the chunk store."""
    size = sum(len(name) + value.ByteSize() for name, value in message.metadata.items())
    if size > MAX_METADATA_BYTES:
        yield Finding("metadata", f"has {size} bytes in all, the maximum is {MAX_METADATA_BYTES}")


def text_has_no_controls(message: metadata_pb2.MetadataValue) -> Iterator[Finding]:
    """A text has no control characters but tab, line feed and carriage return."""
    if _CONTROLS.search(message.string_value):
        yield Finding("string_value", _HAS_CONTROLS)


def texts_have_no_controls(message: metadata_pb2.StringList) -> Iterator[Finding]:
    """The texts of a list have none either."""
    for index, text in enumerate(message.values):
        if _CONTROLS.search(text):
            yield Finding(f"values[{index}]", _HAS_CONTROLS)


CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "rag.v1.CharacterChunking": (overlap_is_at_most_half,),
    "rag.v1.Collection": (labels_are_short, declared_names_are_distinct),
    "rag.v1.UpdateCollectionRequest": (update_mask_is_updatable,),
    "rag.v1.BooleanFilter": (boolean_has_conditions,),
    "rag.v1.ComparisonFilter": (ordering_has_ordered_value,),
    "rag.v1.RangeFilter": (range_is_bounded,),
    "rag.v1.RrfFusion": (some_weight_is_positive,),
    "rag.v1.DocumentSpec": (metadata_keys_are_names, metadata_is_storable),
    "rag.v1.MetadataValue": (text_has_no_controls,),
    "rag.v1.StringList": (texts_have_no_controls,),
    "rag.v1.RetrieveRequest": (collections_are_distinct, query_is_not_blank),
    "rag.v1.BatchRetrieveRequest": (batch_is_bounded,),
    "rag.v1.GenerateRequest": (collections_are_distinct, sources_are_few, question_is_not_blank),
    "rag.v1.StreamGenerateRequest": (collections_are_distinct, sources_are_few, question_is_not_blank),
}
"""The conditions by the full name of the message."""


def _is_unordered(value: Any) -> bool:
    """Whether a MetadataValue is of a kind without an order; one without a kind is found elsewhere."""
    kind = value.WhichOneof("kind")
    return kind is not None and kind not in _ORDERED_KINDS


def _repetitions(names: Iterable[str]) -> Iterator[int]:
    """Yield the index of each name that has stood before; the empty name is found elsewhere."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name and name in seen:
            yield index
        seen.add(name)
