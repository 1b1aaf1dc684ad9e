"""Dry runs."""

from __future__ import annotations

from rag.v1 import chunk_pb2
from rag.v1 import dry_run_pb2 as pb
from rag_server.domain.document import ChunkDraft
from rag_server.domain.dry_run import DryRun
from rag_server.services.wire.chunk import to_boxes, to_span
from rag_server.validation.defaults import value_or_default

MAX_TEXT_CHARACTERS = 4000
"""Of a chunk that is shown, in code points; as the contract says."""
MAX_CHUNKS_BYTES = 3 * 1024 * 1024
"""Of all chunks that are shown, encoded; as the contract says: gRPC clients take 4 MiB unless told otherwise.
The first one is always shown."""


def to_report(result: DryRun, document_id: str, wanted: pb.DryRun) -> pb.DryRunReport:
    """Return the totals of a dry run and the chunks that are wanted of it, bounded."""
    report = pb.DryRunReport(
        document_id=document_id,
        media_type=result.media_type,
        language=result.parsed.language,
        title=result.title,
        size_bytes=result.size_bytes,
        sha256=result.sha256,
        page_count=result.parsed.page_count,
        character_count=len(result.parsed.text),
        chunk_count=len(result.drafts),
        token_count=result.token_count,
    )
    first, count = value_or_default(wanted, "first_chunk"), value_or_default(wanted, "max_chunks")
    size = 0
    following = first
    for ordinal, draft in enumerate(result.drafts[first : first + count], start=first):
        chunk = to_draft(draft, ordinal)
        size += chunk.ByteSize()
        if size > MAX_CHUNKS_BYTES and report.chunks:
            break
        report.chunks.append(chunk)
        following = ordinal + 1
    if following < len(result.drafts):
        report.next_first_chunk = following
    return report


def to_draft(draft: ChunkDraft, ordinal: int) -> pb.DraftChunk:
    """Return a chunk to be as a message, a long one cut."""
    pages = None
    if draft.page_start is not None and draft.page_end is not None:
        pages = chunk_pb2.PageRange(first=draft.page_start, last=draft.page_end)
    return pb.DraftChunk(
        ordinal=ordinal,
        text=draft.text[:MAX_TEXT_CHARACTERS],
        is_text_truncated=len(draft.text) > MAX_TEXT_CHARACTERS,
        span=to_span(draft.span),
        heading_path=draft.heading_path,
        token_count=draft.token_count,
        pages=pages,
        boxes=to_boxes(draft.boxes),
    )
