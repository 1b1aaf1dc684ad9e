"""Settings of retrieval and generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from rag_server.config.group import Group


class EmbeddingSettings(Group):
    """The embedding model."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Name or folder of a sentence-transformers model (Transformer + mean or CLS pooling)."""
    cache_dir: Path | None = None
    """Folder of exported models; unset: `rag-server/models` under XDG_CACHE_HOME or `~/.cache`."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of one model run; 0: as many as there are cores."""
    queue_calls: Annotated[int, Field(ge=1)] = 256
    """Calls that may wait for the model; more are refused with RESOURCE_EXHAUSTED."""


class RetrievalSettings(Group):
    """Retrieval."""

    overfetch: Annotated[float, Field(ge=1, le=100)] = 1.5
    """Candidates asked from the store per candidate wanted, since some may belong to replaced documents."""
    resident_memory_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Memory for collections that are searched in memory; a larger collection is searched in the store."""
    resident_ttl_s: Annotated[float, Field(gt=0)] = 21_600.0
    """How long a collection stays in memory that nobody asks, in seconds."""
    preload_collections: Annotated[int, Field(ge=0, le=1000)] = 16
    """Collections, of those that were asked last, that are brought into memory at start."""
    snapshots: bool = True
    """Whether collections in memory are also written below `storage.data_dir`, for a quick start."""
    search_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that search collections in memory."""
    filter_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for what filters let pass."""
    result_cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Memory for answers to retrieval requests that may come again; 0: none are kept."""
    embedding_cache_bytes: Annotated[int, Field(ge=0)] = 16 * 1024**2
    """Memory for the vectors of queries that may come again; 0: none are kept."""
    cross_encoder: str = ""
    """Model that reranks on request, as for `embedding.model`; empty: none, late interaction only."""


class GenerationSettings(Group):
    """Answers of the extractive generator."""

    max_quotes: Annotated[int, Field(ge=1, le=20)] = 3
    """Sentences that an extractive answer quotes at most."""


class ConversationSettings(Group):
    """Conversations."""

    max_conversations: Annotated[int, Field(ge=1)] = 10_000
    """Conversations that a tenant may have; CreateConversation refuses more."""
    max_messages: Annotated[int, Field(ge=2)] = 1000
    """Messages that a conversation may have, questions and answers."""
    history_messages: Annotated[int, Field(ge=0, le=1000)] = 50
    """Earlier messages that a generator is told of at most."""
    history_tokens: Annotated[int, Field(ge=0)] = 2048
    """Tokens that they have in all at most; older ones are left out, and the answer says how many."""
    lease_s: Annotated[float, Field(gt=0)] = 30.0
    """After which a conversation goes on whose server was killed while it answered, in seconds."""
