"""What would be made of a document, without making it."""

from __future__ import annotations

from dataclasses import dataclass

from rag_server.domain.document import ChunkDraft, MediaType, NewDocument, ParsedDocument


@dataclass(frozen=True, slots=True)
class DryRun:
    """The result of all stages of ingest that write nothing."""

    document: NewDocument
    """As handed in; what the caller left open is as the server it was fetched from says."""
    sha256: str
    size_bytes: int
    media_type: MediaType
    parsed: ParsedDocument
    title: str
    drafts: tuple[ChunkDraft, ...]
    """All of them, in order."""

    @property
    def token_count(self) -> int:
        """Tokens of all chunks."""
        return sum(draft.token_count for draft in self.drafts)
