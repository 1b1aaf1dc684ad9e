"""What goes into and comes out of the chunk store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_server.domain.document import Chunk
from rag_server.domain.filter import Filter
from rag_server.domain.lexical import Phrase


@dataclass(frozen=True, slots=True)
class Scope:
    """Which chunks of a collection a search may return; without conditions: all."""

    filter: Filter | None = None
    phrases: tuple[Phrase, ...] = ()
    """Each is contained."""
    excluded: tuple[Phrase, ...] = ()
    """None is contained."""
    chunk_ids: tuple[str, ...] | None = None
    """Only these; None: any."""


ANY = Scope()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk as one search of the store found it."""

    chunk: Chunk
    score: float
    """Cosine similarity (dense) or BM25 (lexical); higher is better."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredChunks:
    """`n` chunks with all that was written with them, in no particular order."""

    chunks: list[Chunk]
    vectors: npt.NDArray[np.float32]
    """Shape `(n, d)`, as they were written."""
    lexemes: list[list[str]]
    """One list per chunk, in the order of the text."""

    def __len__(self) -> int:
        return len(self.chunks)
