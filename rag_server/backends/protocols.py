"""The roles that the business code is written against. Adapters are chosen in `rag_server.app` only.

Every wait in an adapter is cancellable: deadlines reach it as `asyncio.CancelledError`, upon which it
stops the work (not only the waiting). Adapters raise `rag_server.errors`, never their library's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.generation import Cited, Delta, FinishReason, Prompt, Usage
from rag_server.domain.priority import Priority
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks
from rag_server.errors import FailedPrecondition

Embeddings = npt.NDArray[np.float32]
"""Shape `(n, d)`, float32, rows of unit length."""

Offsets = npt.NDArray[np.int32]
"""Shape `(n, 2)`, int32: of each token its start and its end, exclusive, in code points."""


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
        """Receive a stream; what was staged and neither kept nor discarded goes with the server's next start.

        Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) past `limit_bytes`.
        """
        ...

    async def read(self, tenant_id: str, sha256: str) -> bytes:
        """Return the bytes, which are those of the digest.

        Raises `NotFound`, and `Unavailable` for bytes that were damaged.
        """
        ...

    def stream(self, tenant_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces of at most 1 MiB, also when they are deleted meanwhile.

        Raises `NotFound` before the first piece. Close the generator when leaving it early.
        """
        ...

    async def size(self, tenant_id: str, sha256: str) -> int | None:
        """Return how many bytes are kept; None: there are none."""
        ...

    async def delete(self, tenant_id: str, sha256: str) -> None:
        """Remove the bytes. Idempotent."""
        ...

    def list_all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield `(tenant_id, sha256)` of all bytes that are kept."""
        ...


@dataclass(frozen=True, slots=True)
class JobMessage:
    """All that travels through a queue: which job it is, never what is in it."""

    tenant_id: str
    job_id: str
    priority: Priority = Priority.INTERACTIVE
    trace_parent: str = ""
    """W3C trace context of the call that handed the job in; empty without one."""


class Delivery(Protocol):
    """A message that one consumer has, and has to answer for in one of three ways, once.

    None of them fails: where the answer does not arrive, the message comes again, as it does after a crash.
    """

    @property
    def message(self) -> JobMessage: ...

    async def ack(self) -> None:
        """The job needs no more work for this message."""
        ...

    async def retry(self, delay_s: float) -> None:
        """Have the message delivered again, not much later than in `delay_s` seconds, and not before."""
        ...

    async def dead_letter(self) -> None:
        """Give the message up: it comes out at `JobQueue.take_dead`."""
        ...


class JobQueue(Protocol):
    """Hands each published message to one consumer, at least once; the jobs live in the metadata store.

    The interactive go before the bulk, though a few of these come through when both wait. Within a priority
    messages leave in the order in which they came. Few wait at a time, so that the outbox decides who is
    next (docs/decisions/0014); it is asked for no more than there is `room` for.
    """

    async def room(self, priority: Priority) -> int:
        """Return how many more should be published now. Raises `Unavailable` (`JOB_QUEUE_UNAVAILABLE`)."""
        ...

    async def publish(self, messages: Sequence[JobMessage]) -> Sequence[JobMessage]:
        """Hand over messages; return those that are safe with the queue. The others have to come again.

        Raises `Unavailable` (`JOB_QUEUE_UNAVAILABLE`) when it is not known of any.
        """
        ...

    async def take(self) -> Delivery:
        """Wait for a message and take it."""
        ...

    async def take_dead(self) -> Delivery:
        """Wait for a message that was given up, by a consumer or because it was delivered too often."""
        ...

    async def check(self) -> None:
        """Raise `Unavailable` (`JOB_QUEUE_UNAVAILABLE`) unless the queue answers."""
        ...

    async def close(self) -> None:
        """Stop delivering; what was taken and not answered for is delivered again, to others."""
        ...


@dataclass(frozen=True, slots=True)
class ServerEvents:
    """Word that jobs and collections are not what they were."""

    jobs: Sequence[tuple[str, str]] = ()
    """Tenant and id of each job."""
    collections: Sequence[CollectionChange] = ()


class EventBus(Protocol):
    """Tells the other processes what has changed. Nothing depends on an event but how soon it is noticed.

    Events get lost with a connection; `on_gap` tells when that may have happened.
    """

    def publish(self, events: ServerEvents) -> None:
        """Tell all other members, soon; never waits, never fails."""
        ...

    def subscribe(self, on_events: Callable[[ServerEvents], None], on_gap: Callable[[], None]) -> None:
        """Call `on_events` with what others tell, and `on_gap` when something may have been missed."""
        ...

    async def close(self) -> None: ...


class AnswerStore(Protocol):
    """Keeps encoded answers by tenant and key, for a while. It may forget any of them at any time.

    What a tenant has there is out of reach of all others, whatever the keys are.
    """

    async def get(self, tenant_id: str, key: str) -> bytes | None:
        """Return an answer; None: it is not kept any longer. Raises `RagError` when it cannot tell."""
        ...

    async def put(self, tenant_id: str, key: str, value: bytes) -> None:
        """Keep an answer, in place of what the key had. Raises `RagError` when it cannot."""
        ...


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in whatever unit the server's settings are in."""

    prompt: float
    answer: float

    def of(self, prompt_tokens: int, answer_tokens: int) -> float:
        """Return the cost of a request."""
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / 1_000_000


@dataclass(frozen=True, slots=True)
class GeneratorModel:
    """What the rest of the service must know of a generator."""

    name: str
    """What requests choose it by, and answers carry."""
    provider: str = ""
    """Who runs it; empty: this process."""
    window_tokens: int | None = None
    """Tokens of prompt and answer together. None: it quotes the sources, reads no messages and cites
    by itself; else it writes from messages, and names its sources by markers."""
    counts_exactly: bool = True
    """Whether its counts of tokens are the model's own, rather than upper estimates."""
    price: Price | None = None


class Generator(Protocol):
    """Answers a question from sources: by quoting them, or in words of its own."""

    @property
    def model(self) -> GeneratorModel: ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; at least that, where it `counts_exactly` not."""
        ...

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Cited | Usage | FinishReason, None]:
        """Yield deltas, the citations they complete, then one `Usage` and one `FinishReason`.

        A generator that quotes and abstains yields its reason after a delta that says so in the caller's
        language. One that writes yields no citation.

        Closing the generator, or cancelling its reader, stops the work: at a provider, too. One that breaks
        raises a `RagError` after the deltas that came, and never yields a reason.
        """
        ...

    async def check(self) -> None:
        """Raise a `RagError` unless it can be asked."""
        ...

    async def close(self) -> None: ...
