"""Small corpora, and what the two legs of an exact search make of them, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import log

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk, Span, chunk_id
from rag_server.domain.filter import Filter
from rag_server.domain.lexical import Bm25, LexicalQuery, Phrase
from rag_server.domain.metadata import Metadata
from rag_server.testing.filter_reference import matches

Vector = npt.NDArray[np.float32]
DIMENSION = 8
WORDS = ("router", "cable", "modem", "fuse", "lamp", "año", "plaza", "dte-33", "3.14", "c++")
KINDS = ("guide", "note", "faq")
_SEED = 20_260_102


@dataclass(frozen=True, slots=True, eq=False)
class CorpusPassage:
    """One passage: its vector, of unit length, and its lexemes."""

    vector: Vector
    lexemes: tuple[str, ...]
    metadata: Metadata = field(default_factory=dict)
    """Of a record; it wins over that of the document."""


@dataclass(frozen=True, slots=True, eq=False)
class CorpusDocument:
    """One revision of a document."""

    id: str
    passages: tuple[CorpusPassage, ...]
    metadata: Metadata = field(default_factory=dict)
    media_type: str = "text/plain"

    @property
    def vectors(self) -> Embeddings:
        """Shape `(n, DIMENSION)`."""
        return np.array([each.vector for each in self.passages], np.float32).reshape(-1, DIMENSION)

    @property
    def source_uri(self) -> str:
        return f"https://example.org/{self.id}"

    def chunks(self, collection: Collection, revision: int) -> list[Chunk]:
        """Return the passages as chunks of a revision, with the ids that ingest gives them."""
        return [
            Chunk(
                id=chunk_id(collection.tenant_id, collection.uid, self.id, revision, ordinal),
                tenant_id=collection.tenant_id,
                collection_id=collection.id,
                document_id=self.id,
                document_revision=revision,
                ordinal=ordinal,
                text=" ".join(passage.lexemes),
                span=Span(ordinal * 100, ordinal * 100 + 90),
                heading_path=(self.id,),
                token_count=len(passage.lexemes),
                page_start=None,
                page_end=ordinal + 1,
                title=f"Document {self.id}",
                source_uri=self.source_uri,
                media_type=self.media_type,
                metadata=passage.metadata,
            )
            for ordinal, passage in enumerate(self.passages)
        ]


def unit_vectors(count: int, *, seed: int = _SEED) -> Embeddings:
    """Return `(count, DIMENSION)` random unit vectors."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    unit: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def make_documents(count: int = 12, *, passages: int = 4) -> list[CorpusDocument]:
    """Return documents of random passages, the same each time, with metadata of every type."""
    generator = np.random.default_rng(_SEED)
    vectors = unit_vectors(count * passages)
    documents = []
    for index in range(count):
        own = vectors[index * passages : (index + 1) * passages]
        texts = [generator.choice(WORDS, 3 + (index + each) % 5).tolist() for each in range(passages)]
        metadata: Metadata = {
            "kind": KINDS[index % 3],
            "year": 2000 + index,
            "weight": index / 4,
            "open": index % 2 == 0,
            "published": datetime(2026, 1, 1 + index, tzinfo=UTC),
            "tags": ("all", f"tag{index % 4}"),
        }
        if index % 5 == 0:
            metadata["rare"] = "yes"
        documents.append(
            CorpusDocument(
                f"doc{index:02}",
                tuple(CorpusPassage(vector, tuple(text)) for vector, text in zip(own, texts, strict=True)),
                metadata,
                "text/markdown" if index % 2 else "text/plain",
            )
        )
    return documents


def with_records(documents: Sequence[CorpusDocument]) -> list[CorpusDocument]:
    """Return `documents` in which most passages are records: they have fields and values of their own."""
    made = []
    for index, document in enumerate(documents):
        passages = []
        for ordinal, passage in enumerate(document.passages):
            own: Metadata = {} if (index + ordinal) % 4 == 0 else {"year": 2000 + (index * 5 + ordinal) % 12}
            if own and ordinal % 2:
                own |= {"kind": KINDS[ordinal % 3], "weight": ordinal / 2, "tags": (f"tag{ordinal}",)}
            if own and ordinal == len(document.passages) - 1:
                own |= {"rare": "no", "open": index % 3 == 0, "published": datetime(2026, 1, 4, tzinfo=UTC)}
            passages.append(CorpusPassage(passage.vector, passage.lexemes, own))
        made.append(CorpusDocument(document.id, tuple(passages), document.metadata, document.media_type))
    return made


Key = tuple[str, int]
"""A passage: its document's id, and its ordinal."""


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceSearch:
    """Exact answers over the visible revisions of a corpus."""

    documents: Sequence[CorpusDocument]
    bm25: Bm25 = field(default_factory=Bm25)

    def passages(self) -> dict[Key, CorpusPassage]:
        """Return all passages."""
        return {
            (document.id, ordinal): passage
            for document in self.documents
            for ordinal, passage in enumerate(document.passages)
        }

    def passing(self, filter: Filter | None = None, lexical: LexicalQuery | None = None) -> set[Key]:
        """Return the passages that the filter, the phrases and the exclusions let pass."""
        passing = {
            (document.id, ordinal)
            for document in self.documents
            for ordinal, passage in enumerate(document.passages)
            if filter is None or matches(filter, _system(document), {**document.metadata, **passage.metadata})
        }
        query = lexical or LexicalQuery()
        return {
            key
            for key, passage in self.passages().items()
            if key in passing
            and all(contains(passage.lexemes, phrase) for phrase in query.phrases)
            and not any(contains(passage.lexemes, phrase) for phrase in query.excluded)
        }

    def cosines(self, vector: Vector) -> dict[Key, float]:
        """Return the dense score of every passage."""
        query = vector.astype(np.float64)
        return {
            key: float(passage.vector.astype(np.float64) @ query) for key, passage in self.passages().items()
        }

    def bm25_scores(self, terms: Sequence[str]) -> dict[Key, float]:
        """Return the lexical score of every passage (Robertson and Zaragoza, 2009), 0 without any term.

        idf = ln(1 + (N - n + 0.5) / (n + 0.5)).
        """
        passages = self.passages()
        count = len(passages)
        mean = sum(len(each.lexemes) for each in passages.values()) / max(count, 1)
        holding = {term: sum(term in each.lexemes for each in passages.values()) for term in terms}
        k1, b = self.bm25.k1, self.bm25.b
        scores = {}
        for key, passage in passages.items():
            norm = k1 * (1 - b + b * len(passage.lexemes) / mean)
            scores[key] = sum(
                log(1 + (count - holding[term] + 0.5) / (holding[term] + 0.5))
                * passage.lexemes.count(term)
                * (k1 + 1)
                / (passage.lexemes.count(term) + norm)
                for term in terms
            )
        return scores


def ranked(scores: Mapping[Key, float], keys: Iterable[Key], count: int) -> list[Key]:
    """Return the `count` best of `keys`, best first."""
    return sorted(keys, key=lambda key: (-scores[key], key))[:count]


def contains(lexemes: Sequence[str], phrase: Phrase) -> bool:
    """Whether the lexemes of `phrase` stand in `lexemes` in a row."""
    size = len(phrase)
    return any(tuple(lexemes[at : at + size]) == phrase for at in range(len(lexemes) - size + 1))


def _system(document: CorpusDocument) -> dict[str, str]:
    return {
        "document_id": document.id,
        "media_type": document.media_type,
        "source_uri": document.source_uri,
    }
