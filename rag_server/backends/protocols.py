"""The roles that the business code is written against. Adapters are chosen in `rag_server.app` only.

Every wait in an adapter is cancellable: deadlines reach it as `asyncio.CancelledError`, upon which it
stops the work (not only the waiting). Adapters raise `rag_server.errors`, never their library's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.generation import Cited, Delta, FinishReason, GenerationRequest, Usage
from rag_server.domain.retrieval import ScoredChunk
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks
from rag_server.errors import FailedPrecondition

Embeddings = npt.NDArray[np.float32]
"""Shape `(n, d)`, float32, rows of unit length."""

Offsets = npt.NDArray[np.int32]
"""Shape `(n, 2)`, int32: of each token its start and its end, exclusive, in code points."""


class Priority(IntEnum):
    """Who goes first when both wait for the model: lower is sooner."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What the rest of the service must know of an embedding model."""

    id: str
    dimension: int
    window_tokens: int
    """Tokens that one input may have, special tokens included."""
    special_token_count: int
    """Tokens that the model adds to every input."""
    languages: tuple[str, ...]
    """BCP 47 codes of the languages it was trained for."""

    @property
    def content_tokens(self) -> int:
        """Tokens that are left for a text in one window."""
        return self.window_tokens - self.special_token_count

    def check_embeds(self, collection: Collection) -> None:
        """Raise `FailedPrecondition` (`EMBEDDING_MODEL_MISMATCH`) unless a collection's vectors are ours.

        Vectors of two models may have the same length and still have nothing to do with each other.
        """
        if (collection.embedding_model, collection.dimension) != (self.id, self.dimension):
            raise FailedPrecondition(
                "EMBEDDING_MODEL_MISMATCH",
                f"collection {collection.id!r} was made with the embedding model "
                f"{collection.embedding_model!r}, the server runs {self.id!r}: start the server with the "
                "former, or make another collection and ingest the documents again",
                metadata={"collection": collection.id, "embedding_model": collection.embedding_model},
            )


class Tokenizer(Protocol):
    """The embedding model's tokenizer; pure CPU, thread-safe, fast enough to call anywhere off the loop."""

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens."""
        ...

    def offsets(self, text: str) -> Offsets:
        """Return where each token of `text` stands, special tokens left out.

        May hold the interpreter's lock for the whole of `text`: callers pass long texts in parts.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def model(self) -> EmbeddingModel: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        """Embed `texts`, in order; a text longer than the window becomes the mean of its windows.

        Returns `(len(texts), model.dimension)`. Raises `Unavailable` when the model cannot run and
        `ResourceExhausted` when the queue is full.
        """
        ...

    async def close(self) -> None: ...


class ChunkStore(Protocol):
    """Vectors and chunks of all collections; the engine of both retrieval legs.

    Knows nothing of which document revision readers may see: callers check what it returns
    against the metadata. Rows are keyed by `Chunk.id`, so writing them twice is harmless.
    """

    async def ensure_collection(self, collection: Collection) -> None:
        """Create what `collection` needs, if it is not there yet. Idempotent."""
        ...

    async def drop_collection(self, collection_uid: str) -> None:
        """Remove everything of a collection. Idempotent."""
        ...

    async def upsert(
        self,
        collection: Collection,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        lexemes: Sequence[Sequence[str]],
        metadata: dict[str, object],
    ) -> None:
        """Write `chunks` with one vector and one lexeme list each; `metadata` is their document's."""
        ...

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        """Remove a document's chunks: all, those of one `revision`, or those older than `before_revision`."""
        ...

    async def search_dense(
        self,
        collection: Collection,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        scope: Scope = ANY,
    ) -> list[Hit]:
        """Return the `limit` nearest chunks in `scope` by cosine, best first; ties by chunk id."""
        ...

    async def search_lexical(
        self, collection: Collection, terms: Sequence[str], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        """Return the `limit` best chunks in `scope` by BM25 over lexemes, best first; ties by chunk id.

        A term that stands there twice counts twice. Chunks that hold none of the terms are not returned.
        The statistics may be those of parts of the collection, and may count rows that are gone.
        """
        ...

    def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        """Yield everything that is stored, each chunk once, in batches of bounded size.

        Chunks of revisions that nobody sees are among it. What is written or removed after the first batch
        was asked for may or may not be seen. Close the generator when leaving it early.
        """
        ...

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        """Return these chunks, in order, each once; those that are not stored are left out."""
        ...

    async def list_chunks(
        self, collection: Collection, document_id: str, revision: int, *, first_ordinal: int, limit: int
    ) -> list[Chunk]:
        """Return chunks of one document revision in order, from `first_ordinal` on."""
        ...

    async def count(self, collection: Collection) -> int:
        """Return the number of stored chunks, including those of revisions that nobody sees."""
        ...

    async def check(self) -> None:
        """Raise `Unavailable` unless the store answers."""
        ...

    async def close(self) -> None: ...


class StagedBlob(Protocol):
    """Bytes that have arrived whole, but are not kept yet."""

    @property
    def sha256(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    async def keep(self) -> None:
        """Put the bytes where `BlobStore.read` finds them; durable when it returns. Idempotent."""
        ...

    async def discard(self) -> None:
        """Remove what is not kept. Does nothing after `keep`."""
        ...


class BlobStore(Protocol):
    """Uploaded bytes, addressed by their content. Keys are SHA-256 hex digests, per tenant."""

    async def stage(self, tenant_id: str, data: AsyncIterator[bytes], *, limit_bytes: int) -> StagedBlob:
        """Receive a stream; what was staged and neither kept nor discarded goes with the next start.

        Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) past `limit_bytes`.
        """
        ...

    async def read(self, tenant_id: str, sha256: str) -> bytes:
        """Return the bytes. Raises `NotFound`."""
        ...

    async def delete(self, tenant_id: str, sha256: str) -> None:
        """Remove the bytes. Idempotent."""
        ...

    def list_all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield `(tenant_id, sha256)` of all bytes that are kept."""
        ...


@dataclass(frozen=True, slots=True)
class JobRef:
    """Names a job; all that travels through a queue."""

    tenant_id: str
    job_id: str


class JobQueue(Protocol):
    """Says which job is to be worked on next; the jobs themselves live in the metadata store.

    Hands each published job to one consumer, at least once.
    """

    def check_room(self) -> None:
        """Raise `ResourceExhausted` when no further job should be accepted now."""
        ...

    async def publish(self, ref: JobRef) -> None:
        """Have a job worked on. Publishing a job that waits already does nothing."""
        ...

    async def take(self) -> JobRef:
        """Wait for a job and take it."""
        ...


class Generator(Protocol):
    """Writes an answer from sources."""

    @property
    def model(self) -> str: ...

    def generate(
        self, request: GenerationRequest, sources: Sequence[ScoredChunk]
    ) -> AsyncGenerator[Delta | Cited | Usage | FinishReason, None]:
        """Yield deltas, the citations they complete, then one `Usage` and one `FinishReason`.

        An answer that abstains yields its reason after a delta that says so in the caller's language.
        """
        ...
