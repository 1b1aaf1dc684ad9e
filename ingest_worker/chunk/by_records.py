"""One chunk for each record of a table, whole, however long it is."""

from __future__ import annotations

from ingest_worker.chunk.drafts import OnChunk, ignore
from ingest_worker.chunk.ruler import weight_of
from rag_server.backends.protocols import Tokenizer
from rag_server.domain.document import ChunkDraft, ParsedDocument


def chunk_by_records(
    parsed: ParsedDocument, tokenizer: Tokenizer, on_chunk: OnChunk = ignore
) -> list[ChunkDraft]:
    """Return the records of `parsed` in order; a key is the heading of its record.

    A record longer than the embedding model's window is embedded as the mean of its windows, never truncated.
    """
    drafts = []
    for record in parsed.records.taken if parsed.records else ():
        on_chunk()
        text = parsed.text[record.span.start : record.span.end]
        drafts.append(
            ChunkDraft(
                text=text,
                span=record.span,
                heading_path=(record.key,) if record.key else (),
                token_count=weight_of(text, tokenizer),
                metadata=record.metadata,
            )
        )
    return drafts
