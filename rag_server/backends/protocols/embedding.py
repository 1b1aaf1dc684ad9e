"""The roles of what turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_server.domain.collection import Collection
from rag_server.domain.priority import Priority
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
