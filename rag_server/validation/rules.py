"""The constraints of every field that a request can hold: the declarative table.

One entry per message with constraints, in the order of the contract's files; in it, one per field
or oneof. The same constraints stand in the fields' comments for the reader of the contract;
`tests/contract/test_constraints.py` proves that both agree and that each is enforced.

What holds for every message alike (finite numbers, known enum values, no U+0000, timestamps in
range) is not repeated here, see `field_checks`; conditions over several fields are in `custom`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rag_server.validation.constraint import (
    Constraint,
    Content,
    Default,
    Items,
    Length,
    OutputOnly,
    Pattern,
    Range,
    Required,
    Size,
)

METADATA_KEY: Final = "[A-Za-z_][A-Za-z0-9_]{0,63}"
"""What the name of a metadata field looks like."""

SECRET_NAME: Final = "[A-Za-z0-9_-]{1,64}"  # noqa: S105 - a pattern
"""What the name of a secret of webhooks looks like."""

_COLLECTION_ID: Final = (Required(), Length(1, 63))
_COLLECTION_IDS: Final = (Items(1, 16), Length(1, 63))
_DOCUMENT_ID: Final = (Required(), Length(1, 255))
_JOB_ID: Final = (Required(), Length(1, 64))
_HEX: Final = "[0-9A-Fa-f]"
_REQUEST_ID: Final = (Pattern(f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"),)
_REVISION: Final = (Range(1, 2**53 - 1),)
_PAGE_SIZE: Final = (Range(1, 1000), Default(50))
_PAGE_TOKEN: Final = (Length(0, 2048),)
_QUESTION: Final = (Required(), Length(1, 8192))
_LANGUAGE: Final = 35
"""The length that BCP 47 (RFC 5646, 4.4.1) asks to make room for, in code points."""
_UPLOAD_ID: Final = (Required(), Length(1, 64))
_CONVERSATION_ID: Final = (Required(), Length(1, 64))
_ASSISTANT_ID: Final = (Required(), Length(1, 63))
_SHA256: Final = (Pattern("[0-9a-f]{64}"),)
_FILTER_FIELD: Final = (Required(), Length(1, 128))
_FILTERS: Final = (Items(0, 255),)
_WEIGHT: Final = (Range(0, 1000), Default(1.0))
_RERANKED: Final = (Range(1, 200), Default(20))

FieldRules = Mapping[str, tuple[Constraint, ...]]

_SOURCE: Final[FieldRules] = {
    "source": (Required(),),
    "text": (Length(1, 8_000_000), Content()),
    "data": (Size(1, 33_554_432),),
    "uri": (Length(1, 2048),),
    "request_id": _REQUEST_ID,
}
_GENERATE: Final[FieldRules] = {
    "collection_ids": (Items(0, 16), Length(1, 63)),
    "question": _QUESTION,
    "conversation_id": (Length(0, 64),),
    "messages": (Items(0, 100),),
    "request_id": _REQUEST_ID,
    "assistant": (Length(0, 63),),
}

FIELD_RULES: Final[Mapping[str, FieldRules]] = {
    # admin_service.proto
    "rag.v1.ReconcileRequest": {"collection_id": (Length(0, 63),)},
    # assistant.proto
    "rag.v1.Assistant": {
        "id": (OutputOnly(),),
        "display_name": (Length(0, 200),),
        "description": (Length(0, 2000),),
        "instructions": (Length(0, 8192),),
        "language": (Length(0, _LANGUAGE),),
        "collection_ids": (Items(0, 16), Length(1, 63)),
        "keywords": (Items(0, 64), Length(1, 100)),
        "examples": (Items(0, 32), Length(1, 500)),
        "revision": (OutputOnly(),),
        "create_time": (OutputOnly(),),
        "update_time": (OutputOnly(),),
    },
    # assistant_service.proto
    "rag.v1.CreateAssistantRequest": {
        "assistant_id": (Required(), Pattern("[a-z][a-z0-9_-]{0,62}")),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.GetAssistantRequest": {"assistant_id": _ASSISTANT_ID},
    "rag.v1.ListAssistantsRequest": {"page_size": _PAGE_SIZE, "page_token": _PAGE_TOKEN},
    "rag.v1.UpdateAssistantRequest": {
        "assistant_id": _ASSISTANT_ID,
        "assistant": (Required(),),
        "update_mask": (Required(),),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.DeleteAssistantRequest": {"assistant_id": _ASSISTANT_ID, "request_id": _REQUEST_ID},
    "rag.v1.ListAssistantRevisionsRequest": {
        "assistant_id": _ASSISTANT_ID,
        "page_size": _PAGE_SIZE,
        "page_token": _PAGE_TOKEN,
    },
    "rag.v1.RestoreAssistantRevisionRequest": {
        "assistant_id": _ASSISTANT_ID,
        "revision": _REVISION,
        "request_id": _REQUEST_ID,
    },
    # bm25.proto
    "rag.v1.Bm25": {"k1": (Range(0, 10), Default(1.2)), "b": (Range(0, 1), Default(0.75))},
    # chunking.proto
    "rag.v1.TokenChunking": {
        "max_tokens": (Range(16, 8192), Default(200)),
        "overlap_ratio": (Range(0, 0.5), Default(0.2)),
    },
    "rag.v1.CharacterChunking": {
        "max_characters": (Range(100, 8000), Default(2000)),
        "overlap_characters": (Range(0, 4000), Default(400)),
    },
    # collection_service.proto
    "rag.v1.Collection": {
        "id": (OutputOnly(),),
        "display_name": (Length(0, 200),),
        "description": (Length(0, 2000),),
        "language": (Length(0, _LANGUAGE),),
        "embedding_model": (OutputOnly(),),
        "dimension": (OutputOnly(),),
        "labels": (Items(0, 64),),
        "metadata_fields": (Items(0, 128),),
        "revision": (OutputOnly(),),
        "document_count": (OutputOnly(),),
        "chunk_count": (OutputOnly(),),
        "create_time": (OutputOnly(),),
        "update_time": (OutputOnly(),),
    },
    "rag.v1.CreateCollectionRequest": {
        "collection_id": (Required(), Pattern("[a-z][a-z0-9_-]{0,62}")),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.GetCollectionRequest": {"collection_id": _COLLECTION_ID},
    "rag.v1.ListCollectionsRequest": {"page_size": _PAGE_SIZE, "page_token": _PAGE_TOKEN},
    "rag.v1.UpdateCollectionRequest": {
        "collection_id": _COLLECTION_ID,
        "collection": (Required(),),
        "update_mask": (Required(),),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.DeleteCollectionRequest": {"collection_id": _COLLECTION_ID, "request_id": _REQUEST_ID},
    # conversation.proto
    "rag.v1.HistoryMessage": {"role": (Required(),), "text": (Required(), Length(1, 32_768))},
    # conversation_service.proto
    "rag.v1.Conversation": {
        "id": (OutputOnly(),),
        "title": (Length(0, 200),),
        "language": (OutputOnly(),),
        "message_count": (OutputOnly(),),
        "create_time": (OutputOnly(),),
        "update_time": (OutputOnly(),),
    },
    "rag.v1.CreateConversationRequest": {"request_id": _REQUEST_ID},
    "rag.v1.GetConversationRequest": {"conversation_id": _CONVERSATION_ID},
    "rag.v1.ListConversationsRequest": {"page_size": _PAGE_SIZE, "page_token": _PAGE_TOKEN},
    "rag.v1.UpdateConversationRequest": {
        "conversation_id": _CONVERSATION_ID,
        "conversation": (Required(),),
        "update_mask": (Required(),),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.DeleteConversationRequest": {"conversation_id": _CONVERSATION_ID, "request_id": _REQUEST_ID},
    "rag.v1.ListMessagesRequest": {
        "conversation_id": _CONVERSATION_ID,
        "page_size": _PAGE_SIZE,
        "page_token": _PAGE_TOKEN,
    },
    # document_service.proto
    "rag.v1.GetDocumentRequest": {"collection_id": _COLLECTION_ID, "document_id": _DOCUMENT_ID},
    "rag.v1.ListDocumentsRequest": {
        "collection_id": _COLLECTION_ID,
        "page_size": _PAGE_SIZE,
        "page_token": _PAGE_TOKEN,
    },
    "rag.v1.DeleteDocumentRequest": {
        "collection_id": _COLLECTION_ID,
        "document_id": _DOCUMENT_ID,
        "request_id": _REQUEST_ID,
    },
    "rag.v1.ListChunksRequest": {
        "collection_id": _COLLECTION_ID,
        "document_id": _DOCUMENT_ID,
        "page_size": _PAGE_SIZE,
        "page_token": _PAGE_TOKEN,
    },
    "rag.v1.BatchDeleteDocumentsRequest": {
        "collection_id": _COLLECTION_ID,
        "selection": (Required(),),
        "max_documents": (Range(1, 1000), Default(1000)),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.DocumentIds": {"ids": (Items(1, 1000), Length(1, 255))},
    "rag.v1.ListDocumentRevisionsRequest": {
        "collection_id": _COLLECTION_ID,
        "document_id": _DOCUMENT_ID,
        "page_size": _PAGE_SIZE,
        "page_token": _PAGE_TOKEN,
    },
    "rag.v1.RestoreDocumentRevisionRequest": {
        "collection_id": _COLLECTION_ID,
        "document_id": _DOCUMENT_ID,
        "revision": _REVISION,
        "request_id": _REQUEST_ID,
    },
    "rag.v1.DownloadDocumentRequest": {
        "collection_id": _COLLECTION_ID,
        "document_id": _DOCUMENT_ID,
        "revision": _REVISION,
    },
    # dry_run.proto
    "rag.v1.DryRun": {
        "first_chunk": (Range(0, 10_000_000), Default(0)),
        "max_chunks": (Range(0, 1000), Default(100)),
    },
    # expansion.proto
    "rag.v1.QueryExpansion": {"method": (Required(),), "model": (Length(0, 64),)},
    "rag.v1.MultiQueryExpansion": {"query_count": (Range(1, 8), Default(3))},
    "rag.v1.HydeExpansion": {"passage_count": (Range(1, 4), Default(1))},
    "rag.v1.DecompositionExpansion": {"max_query_count": (Range(2, 8), Default(4))},
    "rag.v1.QuestionRewriting": {"method": (Required(),)},
    "rag.v1.ModelRewriting": {"model": (Length(0, 64),)},
    # filter.proto
    "rag.v1.Filter": {"kind": (Required(),)},
    "rag.v1.BooleanFilter": {"must": _FILTERS, "should": _FILTERS, "must_not": _FILTERS},
    "rag.v1.ComparisonFilter": {
        "field": _FILTER_FIELD,
        "operator": (Required(),),
        "value": (Required(),),
    },
    "rag.v1.MembershipFilter": {"field": _FILTER_FIELD, "values": (Items(1, 255),)},
    "rag.v1.RangeFilter": {"field": _FILTER_FIELD},
    "rag.v1.ExistsFilter": {"field": _FILTER_FIELD},
    "rag.v1.PrefixFilter": {"field": _FILTER_FIELD, "prefix": (Required(), Length(1, 1024))},
    # fusion.proto
    "rag.v1.RrfFusion": {
        "k": (Range(1, 10000), Default(60)),
        "dense_weight": _WEIGHT,
        "lexical_weight": _WEIGHT,
    },
    "rag.v1.MinMaxFusion": {"dense_weight": _WEIGHT, "lexical_weight": _WEIGHT},
    "rag.v1.ZScoreFusion": {"dense_weight": _WEIGHT, "lexical_weight": _WEIGHT},
    "rag.v1.AdaptiveFusion": {"dense_weight": _WEIGHT, "lexical_weight": _WEIGHT},
    # generate_service.proto
    "rag.v1.GenerateRequest": _GENERATE,
    "rag.v1.StreamGenerateRequest": {
        **_GENERATE,
        "resume_window_ms": (Range(100, 120_000),),
        "resume_cursor": (Length(0, 128),),
    },
    "rag.v1.CountTokensRequest": {"texts": (Items(1, 128), Length(0, 8192)), "model": (Length(0, 64),)},
    # grounding.proto
    "rag.v1.CheckGroundingRequest": {
        "text": (Required(), Length(1, 16_384)),
        "sources": (Required(),),
        "language": (Length(0, _LANGUAGE),),
    },
    "rag.v1.GroundingPassages": {"texts": (Items(1, 100), Length(1, 8192))},
    "rag.v1.GroundingChunks": {
        "collection_id": _COLLECTION_ID,
        "chunk_ids": (Items(1, 100), Length(1, 64)),
    },
    "rag.v1.GroundingSearch": {
        "collection_ids": _COLLECTION_IDS,
        "chunks_per_sentence": (Range(1, 20), Default(5)),
    },
    "rag.v1.GroundingOptions": {"min_score": (Range(0, 1),)},
    # ingest_service.proto
    "rag.v1.DocumentSpec": {
        "document_id": (Pattern("[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,254}"),),
        "title": (Length(0, 500),),
        "source_uri": (Length(0, 2048),),
        "file_name": (Length(0, 255),),
        "media_type": (Length(0, 127),),
        "metadata": (Items(0, 64),),
    },
    "rag.v1.IngestDocumentRequest": {"collection_id": _COLLECTION_ID, **_SOURCE},
    "rag.v1.Webhook": {
        "url": (Required(), Length(1, 2048)),
        "secret_name": (Required(), Pattern(SECRET_NAME)),
    },
    "rag.v1.UploadDocumentRequest": {"part": (Required(),), "data": (Size(1, 4_194_304),)},
    "rag.v1.UploadStart": {
        "collection_id": _COLLECTION_ID,
        "sha256": _SHA256,
        "request_id": _REQUEST_ID,
    },
    "rag.v1.UploadResume": {"upload_id": _UPLOAD_ID, "offset": (Range(0, 2**53 - 1), Default(0))},
    "rag.v1.StartUploadRequest": {
        "collection_id": _COLLECTION_ID,
        "sha256": _SHA256,
        "request_id": _REQUEST_ID,
    },
    "rag.v1.GetUploadRequest": {"upload_id": _UPLOAD_ID},
    "rag.v1.CancelUploadRequest": {"upload_id": _UPLOAD_ID, "request_id": _REQUEST_ID},
    "rag.v1.IngestDocumentsRequest": {"part": (Required(),)},
    "rag.v1.IngestDocumentsStart": {"collection_id": _COLLECTION_ID, "request_id": _REQUEST_ID},
    "rag.v1.IngestDocumentsItem": {"item_id": (Required(), Length(1, 256)), **_SOURCE},
    "rag.v1.CrawlSiteRequest": {
        "collection_id": _COLLECTION_ID,
        "start_urls": (Items(1, 100), Length(1, 2000)),
        "hosts": (Items(0, 100), Length(1, 255)),
        "include": (Items(0, 100), Length(1, 500)),
        "exclude": (Items(0, 100), Length(1, 500)),
        "max_pages": (Range(1, 10_000), Default(50)),
        "max_depth": (Range(0, 100), Default(5)),
        "metadata": (Items(0, 64),),
        "request_id": _REQUEST_ID,
    },
    "rag.v1.GetJobRequest": {"job_id": _JOB_ID},
    "rag.v1.ListJobsRequest": {
        "collection_id": (Length(0, 63),),
        "document_id": (Length(0, 255),),
        "states": (Items(0, 16),),
        "page_size": _PAGE_SIZE,
        "page_token": _PAGE_TOKEN,
        "parent_job_id": (Length(0, 64),),
    },
    "rag.v1.WatchJobRequest": {"job_id": _JOB_ID, "cursor": (Length(0, 64),)},
    "rag.v1.CancelJobRequest": {"job_id": _JOB_ID, "request_id": _REQUEST_ID},
    "rag.v1.RetryJobRequest": {"job_id": _JOB_ID, "request_id": _REQUEST_ID},
    # metadata.proto
    "rag.v1.MetadataField": {
        "name": (Required(), Pattern(METADATA_KEY)),
        "type": (Required(),),
    },
    "rag.v1.MetadataValue": {"kind": (Required(),), "string_value": (Length(0, 4096),)},
    "rag.v1.StringList": {"values": (Items(0, 256), Length(0, 4096))},
    # options.proto
    "rag.v1.RetrievalOptions": {
        "top_k": (Range(1, 1000), Default(10)),
        "candidate_count": (Range(1, 2000), Default(50)),
        "duplicate_similarity": (Range(0.5, 1),),
        "context_chunks": (Range(0, 10), Default(0)),
        "min_revisions": (Items(0, 16),),
    },
    "rag.v1.Diversity": {"method": (Required(),)},
    "rag.v1.Mmr": {"relevance_weight": (Range(0, 1), Default(0.7))},
    "rag.v1.DocumentGrouping": {"chunks_per_document": (Range(1, 100), Default(3))},
    "rag.v1.ScoreThreshold": {"scale": (Required(),)},
    "rag.v1.Explain": {"chunk_ids": (Items(0, 20), Length(1, 64))},
    "rag.v1.GenerationOptions": {
        "max_answer_tokens": (Range(1, 8192), Default(512)),
        "language": (Length(0, _LANGUAGE),),
        "model": (Length(0, 64),),
        "temperature": (Range(0, 2),),
        "top_p": (Range(0, 1),),
        "seed": (Range(0, 2**53 - 1),),
        "stop": (Items(0, 4), Length(1, 64)),
        "max_cost": (Range(0, 1_000_000),),
    },
    # output_format.proto
    "rag.v1.OutputFormat": {
        "format": (Required(),),
        "json_schema": (Length(1, 16_384),),
        "regex": (Length(1, 1024),),
    },
    "rag.v1.OutputChoice": {"values": (Items(1, 64), Length(1, 256))},
    # records.proto
    "rag.v1.Records": {
        "template": (Length(0, 4096),),
        "fields": (Items(0, 64),),
        "key_column": (Length(0, 256),),
        "sheet": (Length(0, 255),),
    },
    "rag.v1.RecordField": {
        "column": (Required(), Length(1, 256)),
        "field": (Pattern(METADATA_KEY),),
        "type": (Required(),),
        "separator": (Length(0, 8),),
    },
    # rerank.proto
    "rag.v1.Rerank": {"method": (Required(),)},
    "rag.v1.LateInteractionRerank": {"candidate_count": _RERANKED},
    "rag.v1.CrossEncoderRerank": {"candidate_count": _RERANKED},
    # retrieve_service.proto
    "rag.v1.RetrieveRequest": {
        "collection_ids": _COLLECTION_IDS,
        "query": _QUESTION,
    },
    "rag.v1.BatchRetrieveRequest": {"requests": (Items(1, 64),)},
    "rag.v1.RerankRequest": {
        "query": _QUESTION,
        "passages": (Items(1, 200), Length(1, 8192)),
        "top_k": (Range(1, 200),),
    },
    "rag.v1.EmbedRequest": {"texts": (Items(1, 128), Length(1, 8192))},
    "rag.v1.AnalyzeRequest": {
        "text": (Required(), Length(1, 32_768)),
        "analyzer": (Required(),),
        "collection_id": (Length(1, 63),),
        "language": (Length(1, _LANGUAGE),),
    },
}
