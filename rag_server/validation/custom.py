"""Conditions that the contract's comments state in words, over several fields of one message.

Each is a function that yields a `Finding` for everything that is wrong; `CHECKS` says for which
message. They run after the constraints of `rules.FIELD_RULES` and whatever those have found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.unknown_fields import UnknownFieldSet

from rag.v1 import (
    chunking_pb2,
    collection_service_pb2,
    filter_pb2,
    ingest_service_pb2,
    metadata_pb2,
    records_pb2,
)
from rag_server.domain.record_template import TemplateError, parse_template
from rag_server.validation import assistant_conditions as assistant
from rag_server.validation import conversation_conditions as conversation
from rag_server.validation import expansion_conditions as expansion
from rag_server.validation import grounding_conditions as grounding
from rag_server.validation import resumption_conditions as resumption
from rag_server.validation import retrieval_conditions as retrieval
from rag_server.validation.choice_conditions import choices_can_be_told_apart
from rag_server.validation.defaults import value_or_default
from rag_server.validation.finding import Check, Finding, repetitions
from rag_server.validation.paths import entry_path
from rag_server.validation.rules import METADATA_KEY

MAX_LABEL_CHARACTERS: Final = 128
"""The greatest length of a label's key and of its value, in code points."""

UPDATABLE_FIELDS: Final = ("display_name", "description", "labels", "chunking", "metadata_fields")
"""What an `update_mask` may name."""

MAX_METADATA_BYTES: Final = 16_384
"""The greatest size of a document's metadata, keys included, as encoded in protobuf."""

_Described = ingest_service_pb2.DocumentSpec | ingest_service_pb2.CrawlSiteRequest
"""What has metadata of documents."""

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


def strategy_is_known(message: chunking_pb2.Chunking) -> Iterator[Finding]:
    """A strategy of a later version of the contract is refused: the default would be something else."""
    if message.WhichOneof("strategy") is None and len(UnknownFieldSet(message)):
        known = ", ".join(field.name for field in message.DESCRIPTOR.oneofs_by_name["strategy"].fields)
        yield Finding("strategy", f"is not one that this server knows: {known}")


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
    for index in repetitions(names):
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


def metadata_keys_are_names(message: _Described) -> Iterator[Finding]:
    """The keys of `metadata` are names, so that a filter can address them."""
    for key in message.metadata:
        if not _METADATA_KEY.fullmatch(key):
            yield Finding(entry_path("metadata", key), f"the key must match {METADATA_KEY}")


def metadata_is_storable(message: _Described) -> Iterator[Finding]:
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


def template_is_well_formed(message: records_pb2.Records) -> Iterator[Finding]:
    """The braces of `template` match and name columns."""
    try:
        parse_template(message.template)
    except TemplateError as error:
        yield Finding("template", str(error))


def fields_are_distinct(message: records_pb2.Records) -> Iterator[Finding]:
    """No two `fields` have the same field."""
    for index in repetitions([field.field or field.column for field in message.fields]):
        yield Finding(f"fields[{index}]", "makes the same metadata field as an earlier one")


def column_is_a_name(message: records_pb2.RecordField) -> Iterator[Finding]:
    """A column whose field is absent can itself be the name of a metadata field."""
    if message.column and not message.field and not _METADATA_KEY.fullmatch(message.column):
        yield Finding("field", f"is required, since the column does not match {METADATA_KEY}")


def records_replace_chunking(
    message: ingest_service_pb2.IngestDocumentRequest | ingest_service_pb2.UploadStart,
) -> Iterator[Finding]:
    """`records` and `chunking` are not both set."""
    if message.HasField("records") and message.HasField("chunking"):
        yield Finding("records", "cannot be set together with chunking: each record is a chunk")


_QUESTION: Final[tuple[Check, ...]] = (
    assistant.collections_are_named,
    retrieval.collections_are_distinct,
    retrieval.sources_are_few,
    retrieval.question_is_not_blank,
    retrieval.question_is_not_explained,
    retrieval.min_revisions_of_a_question_are_searched,
    conversation.history_is_given_once,
    conversation.history_is_not_blank,
    conversation.history_is_bounded,
    conversation.request_id_is_of_a_conversation,
    expansion.hyde_has_a_dense_leg,
    expansion.candidates_are_bounded,
)

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "rag.v1.Chunking": (strategy_is_known,),
    "rag.v1.CharacterChunking": (overlap_is_at_most_half,),
    "rag.v1.Collection": (labels_are_short, declared_names_are_distinct),
    "rag.v1.UpdateCollectionRequest": (update_mask_is_updatable,),
    "rag.v1.Conversation": (conversation.title_has_no_controls,),
    "rag.v1.UpdateConversationRequest": (conversation.update_mask_is_updatable,),
    "rag.v1.Assistant": (
        assistant.instructions_have_no_controls,
        retrieval.collections_are_distinct,
        assistant.defaults_are_of_any_request,
        retrieval.sources_are_few,
        assistant.keywords_are_distinct,
        assistant.examples_are_not_blank,
    ),
    "rag.v1.CreateAssistantRequest": (assistant.id_is_not_auto,),
    "rag.v1.UpdateAssistantRequest": (assistant.update_mask_is_updatable,),
    "rag.v1.BooleanFilter": (boolean_has_conditions,),
    "rag.v1.ComparisonFilter": (ordering_has_ordered_value,),
    "rag.v1.RangeFilter": (range_is_bounded,),
    "rag.v1.Fusion": (retrieval.fusion_is_known,),
    "rag.v1.RrfFusion": (retrieval.some_weight_is_positive,),
    "rag.v1.MinMaxFusion": (retrieval.some_weight_is_positive,),
    "rag.v1.ZScoreFusion": (retrieval.some_weight_is_positive,),
    "rag.v1.AdaptiveFusion": (retrieval.some_weight_is_positive,),
    "rag.v1.DocumentSpec": (metadata_keys_are_names, metadata_is_storable),
    "rag.v1.CrawlSiteRequest": (metadata_keys_are_names, metadata_is_storable),
    "rag.v1.IngestDocumentRequest": (records_replace_chunking,),
    "rag.v1.UploadStart": (records_replace_chunking,),
    "rag.v1.Records": (template_is_well_formed, fields_are_distinct),
    "rag.v1.RecordField": (column_is_a_name,),
    "rag.v1.MetadataValue": (text_has_no_controls,),
    "rag.v1.StringList": (texts_have_no_controls,),
    "rag.v1.RetrievalOptions": (
        retrieval.results_are_bounded,
        retrieval.threshold_is_on_a_scale_of_the_request,
    ),
    "rag.v1.OutputChoice": (choices_can_be_told_apart,),
    "rag.v1.Explain": (retrieval.traced_chunks_are_distinct,),
    "rag.v1.RetrieveRequest": (
        retrieval.collections_are_distinct,
        retrieval.query_is_not_blank,
        retrieval.min_revisions_are_searched,
    ),
    "rag.v1.BatchRetrieveRequest": (retrieval.batch_is_bounded,),
    "rag.v1.RerankRequest": (retrieval.query_is_not_blank, retrieval.all_passages_are_reranked),
    "rag.v1.CheckGroundingRequest": (grounding.text_is_not_blank,),
    "rag.v1.GroundingChunks": (grounding.chunks_are_distinct,),
    "rag.v1.GroundingSearch": (retrieval.collections_are_distinct,),
    "rag.v1.GenerateRequest": _QUESTION,
    "rag.v1.StreamGenerateRequest": (*_QUESTION, resumption.cursor_is_of_a_resumable_answer),
}
"""The conditions by the full name of the message."""


def _is_unordered(value: Any) -> bool:
    """Whether a MetadataValue is of a kind without an order; one without a kind is found elsewhere."""
    kind = value.WhichOneof("kind")
    return kind is not None and kind not in _ORDERED_KINDS
