"""The role of both retrieval engines: the resident one, in memory, and the chunk store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.domain.candidates import Candidates, Positions
from rag_server.domain.document import Chunk
from rag_server.domain.filter import Filter
from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import Engine, Leg


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One query to one collection."""

    vector: npt.NDArray[np.float32] | None
    """Shape `(d,)`, of unit length; None: no dense leg."""
    lexical: LexicalQuery | None
    """None: no lexical leg (its phrases and exclusions must then be empty)."""
    filter: Filter | None
    count: int
    """Candidates per leg."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the engine makes of one chunk of the collection, found or not."""

    is_passing: bool
    """Whether the filter, the phrases and the exclusions let it pass."""
    scores: dict[Leg, float]
    """By leg that ran and can tell."""


class Found(Protocol):
    """What one probe found in one state of one collection; valid however the collection changes."""

    @property
    def candidates(self) -> Candidates: ...

    @property
    def revision(self) -> int:
        """The collection's revision that was searched."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether a later revision is known of that could not be searched."""
        ...

    @property
    def engine(self) -> Engine: ...

    @property
    def chunk_count(self) -> int | None:
        """Passages that were searched; None where the engine does not know."""
        ...

    @property
    def passing_count(self) -> int | None:
        """Of these, those that the filter, the phrases and the exclusions let pass."""
        ...

    @property
    def dense_method(self) -> str:
        """`exact`, `codes`, `hnsw` or `store`; empty: the dense leg did not run."""
        ...

    @property
    def document_frequencies(self) -> Sequence[int] | None:
        """In how many passages each of the probe's terms stands; None: the engine does not know."""
        ...

    async def inspect(self, chunk_ids: Sequence[str]) -> list[Inspected | None]:
        """Return what is known of each chunk; None for one that the state does not hold."""
        ...

    async def chunks(self, positions: Positions) -> list[Chunk]:
        """Return the passages at `positions`, in order."""
        ...

    async def vectors(self, positions: Positions) -> Embeddings:
        """Return their vectors, `(len(positions), d)`."""
        ...

    async def neighbours(self, positions: Positions, count: int) -> list[tuple[list[Chunk], list[Chunk]]]:
        """Return for each position up to `count` chunks before it and after it in its document, in order."""
        ...


class Retriever(Protocol):
    """Searches one collection."""

    async def search(self, probes: Sequence[Probe]) -> list[Found]:
        """Answer `probes`, in order, all from one state of the collection."""
        ...
