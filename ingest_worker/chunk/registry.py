"""The one way in: a parsed document and a chunking strategy become chunks."""

from __future__ import annotations

from typing import assert_never

from ingest_worker.chunk.by_characters import chunk_by_characters
from ingest_worker.chunk.by_records import chunk_by_records
from ingest_worker.chunk.by_tokens import chunk_by_tokens
from ingest_worker.chunk.drafts import OnChunk, ignore
from rag_server.backends.protocols import EmbeddingModel, Tokenizer
from rag_server.domain.collection import CharacterChunking, TokenChunking
from rag_server.domain.document import ChunkDraft, ParsedDocument
from rag_server.domain.records import Cutting, RecordMapping


def chunk_document(
    parsed: ParsedDocument,
    chunking: Cutting,
    tokenizer: Tokenizer,
    model: EmbeddingModel,
    *,
    on_chunk: OnChunk = ignore,
) -> list[ChunkDraft]:
    """Return the chunks of `parsed` in order; all of its text but white space is in some chunk.

    Args:
        parsed: The document.
        chunking: The strategy and its parameters.
        tokenizer: That of `model`.
        model: Its window bounds the chunks of `TokenChunking`; all others may exceed it.
        on_chunk: Told of each chunk.

    CPU work of up to seconds: call it off the event loop. Raises `InvalidArgument` where
    `TokenChunking.max_tokens` is too small for a single character of the document.
    """
    match chunking:
        case TokenChunking():
            return chunk_by_tokens(parsed, chunking, tokenizer, model.content_tokens, on_chunk)
        case CharacterChunking():
            return chunk_by_characters(parsed, chunking, tokenizer, on_chunk)
        case RecordMapping():
            return chunk_by_records(parsed, tokenizer, on_chunk)
        case _ as never:
            assert_never(never)
