"""Runs one peer in its own interpreter: builds its index, then answers queries, as lines of JSON.

    PYTHON -m benchmarks.peers_worker PEER FOLDER

Started by `benchmarks.peers` in the root of the repository. FOLDER holds what `Corpus.write` left there.
After the line `{"versions": ..., "build_s": ...}` each line `{"query": i, "top_k": k}` on standard input gets
`{"seconds": ..., "ids": [...]}`; the end of the input ends the process. Imports nothing of the server: the
environment of the peers has only them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Shape `(n, d)`, rows of unit length."""

_QUIET_SHARE = 0.1
_QUIET_WITHIN_S = 900.0

Search = Callable[[str, int], Sequence[str]]
"""Takes a query and how many passages are wanted; returns the ids of the passages, best first."""


@dataclass(frozen=True)
class Corpus:
    """The passages and queries of one collection, with the vectors that our embedder gave them."""

    language: str
    """BCP 47 code, as a user would know it of their own documents."""
    ids: list[str]
    texts: list[str]
    vectors: Vectors
    queries: list[str]
    query_vectors: Vectors

    def lookup(self) -> Callable[[str], Vectors]:
        """Return what stands in for the embedding model: the vector `(d,)` of a text of this corpus."""
        rows = {text: row for row, text in enumerate(self.texts)}
        query_rows = {query: row for row, query in enumerate(self.queries)}

        def vector_of(text: str) -> Vectors:
            row = query_rows.get(text)
            found: Vectors = self.vectors[rows[text]] if row is None else self.query_vectors[row]
            return found

        return vector_of

    def write(self, folder: Path) -> None:
        """Leave everything in an empty folder."""
        folder.mkdir(parents=True)
        np.save(folder / "vectors.npy", self.vectors)
        np.save(folder / "query_vectors.npy", self.query_vectors)
        texts = {"language": self.language, "ids": self.ids, "texts": self.texts, "queries": self.queries}
        (folder / "corpus.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """Return what `write` left in a folder."""
        texts = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        vectors, query_vectors = np.load(folder / "vectors.npy"), np.load(folder / "query_vectors.npy")
        return cls(**texts, vectors=vectors, query_vectors=query_vectors)


class Peer(Protocol):
    """What each module `benchmarks.peers_<peer>` has."""

    PACKAGES: tuple[str, ...]
    """Distributions whose versions are reported."""

    def build(self, corpus: Corpus, folder: Path) -> Search:
        """Index a corpus, below `folder` where files are needed, and return how it is searched."""
        ...


def wait_until_quiet() -> None:
    """Return once this process does nothing: peers may go on indexing behind the call that asked for it."""
    deadline = time.monotonic() + _QUIET_WITHIN_S
    while time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(1)
        if time.process_time() - before < _QUIET_SHARE:
            return


def main() -> None:
    """Serve until the input ends."""
    # Libraries print what they like; the pipe is for the answers alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    peer = cast("Peer", importlib.import_module(f"benchmarks.peers_{sys.argv[1]}"))
    folder = Path(sys.argv[2])
    corpus = Corpus.read(folder)

    def answer(values: dict[str, object]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    started = time.perf_counter()
    search = peer.build(corpus, folder)
    wait_until_quiet()
    versions = {name: version(name) for name in peer.PACKAGES}
    answer({"versions": versions, "build_s": time.perf_counter() - started})
    for line in sys.stdin:
        asked = json.loads(line)
        query = corpus.queries[asked["query"]]
        started = time.perf_counter()
        ids = list(search(query, asked["top_k"]))
        answer({"seconds": time.perf_counter() - started, "ids": ids})


if __name__ == "__main__":
    main()
