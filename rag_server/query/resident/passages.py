"""The passages of a segment as columns: everything of a chunk but its vector and its terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_server.domain.document import Chunk, Span
from rag_server.domain.metadata import Metadata
from rag_server.metadata.codecs import metadata_from_json, metadata_to_json
from rag_server.query.resident.boxes import Boxes, concatenate_boxes
from rag_server.query.resident.strings import Strings, concatenate_strings

Rows = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]
_NUMBERS = ("ordinals", "span_starts", "span_ends", "token_counts", "page_starts", "page_ends")
_NO_PAGE = -1
_NO_HEADINGS = "[]"
_NO_METADATA = "{}"


@dataclass(frozen=True, slots=True, eq=False)
class Passages:
    """`n` passages. Those of one document stand together, in their order, so neighbours are next rows."""

    ids: npt.NDArray[np.bytes_]
    texts: Strings
    headings: Strings
    """Distinct heading paths, each a JSON list."""
    heading_codes: npt.NDArray[np.int32]
    metadata: Strings
    """Distinct metadata of records, each JSON with types; first what chunks have that are no records."""
    metadata_codes: npt.NDArray[np.int32]
    ordinals: npt.NDArray[np.int32]
    span_starts: npt.NDArray[np.int32]
    span_ends: npt.NDArray[np.int32]
    token_counts: npt.NDArray[np.int32]
    page_starts: npt.NDArray[np.int32]
    """-1 where the format has no pages."""
    page_ends: npt.NDArray[np.int32]
    boxes: Boxes

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> Passages:
        """Take what is needed of `chunks`."""
        codes: dict[tuple[str, ...], int] = {}
        heading_codes = [codes.setdefault(chunk.heading_path, len(codes)) for chunk in chunks]
        own = {_NO_METADATA: 0}
        metadata_codes = [own.setdefault(_encoded(chunk.metadata), len(own)) for chunk in chunks]
        return cls(
            ids=np.array([chunk.id.encode() for chunk in chunks], np.bytes_),
            texts=Strings.of(chunk.text for chunk in chunks),
            headings=Strings.of(json.dumps(path, ensure_ascii=False) for path in codes),
            heading_codes=np.array(heading_codes, np.int32),
            metadata=Strings.of(own),
            metadata_codes=np.array(metadata_codes, np.int32),
            ordinals=_int32(chunk.ordinal for chunk in chunks),
            span_starts=_int32(chunk.span.start for chunk in chunks),
            span_ends=_int32(chunk.span.end for chunk in chunks),
            token_counts=_int32(chunk.token_count for chunk in chunks),
            page_starts=_int32(_page(chunk.page_start) for chunk in chunks),
            page_ends=_int32(_page(chunk.page_end) for chunk in chunks),
            boxes=Boxes.of([chunk.boxes for chunk in chunks]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes that the columns hold."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, Array]:
        """Return what `from_arrays` takes; no array holds objects, so files can be mapped for them."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {
            "ids": self.ids,
            "heading_codes": self.heading_codes,
            "metadata_codes": self.metadata_codes,
            **numbers,
            **self.texts.arrays("texts"),
            **self.headings.arrays("headings"),
            **self.metadata.arrays("metadata"),
            **self.boxes.arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Passages:
        """Return the passages that `arrays` was made from."""
        columns = {name: arrays[name] for name in ("ids", "heading_codes", "metadata_codes", *_NUMBERS)}
        return cls(
            texts=Strings.from_arrays(arrays, "texts"),
            headings=Strings.from_arrays(arrays, "headings"),
            metadata=Strings.from_arrays(arrays, "metadata"),
            boxes=Boxes.from_arrays(arrays, len(arrays["ids"])),
            **columns,  # type: ignore[arg-type]  # as written by `arrays`
        )

    def find(self, chunk_id: str) -> int | None:
        """Return the row of a chunk. O(n), vectorised: for explanations only."""
        wanted = chunk_id.encode()
        if wanted.endswith(b"\0"):  # which numpy would take for padding
            return None
        rows = np.flatnonzero(self.ids == wanted)
        return int(rows[0]) if len(rows) else None

    def chunks(self, rows: Rows, sources: Sequence[ChunkSource]) -> list[Chunk]:
        """Return the passages at `rows`, which `sources`, one for each, say the rest about."""
        # column by column: taking a number out of an array by itself costs as much as taking ten
        columns = (
            self.ids,
            self.heading_codes,
            self.metadata_codes,
            *(getattr(self, name) for name in _NUMBERS),
        )
        values = zip(*(column[rows].tolist() for column in columns), strict=True)
        return [
            Chunk(
                id=chunk_id.decode(),
                tenant_id=source.tenant_id,
                collection_id=source.collection_id,
                document_id=source.document_id,
                document_revision=source.document_revision,
                ordinal=number,
                text=text,
                span=Span(start, end),
                heading_path=self._heading_path(heading),
                token_count=tokens,
                page_start=None if first == _NO_PAGE else first,
                page_end=None if last == _NO_PAGE else last,
                title=source.title,
                source_uri=source.source_uri,
                media_type=source.media_type,
                metadata=self.metadata_of(own) if own else {},
                boxes=boxes,
            )
            for source, text, boxes, (chunk_id, heading, own, number, start, end, tokens, first, last) in zip(
                sources, self.texts.at(rows), self.boxes.at(rows), values, strict=True
            )
        ]

    def metadata_of(self, code: int) -> Metadata:
        """Return what a code of `metadata_codes` stands for."""
        return metadata_from_json(json.loads(self.metadata[code]))

    def _heading_path(self, code: int) -> tuple[str, ...]:
        encoded = self.headings[code]
        return () if encoded == _NO_HEADINGS else tuple(json.loads(encoded))


@dataclass(frozen=True, slots=True)
class ChunkSource:
    """What a chunk shares with the others of its document."""

    tenant_id: str
    collection_id: str
    document_id: str
    document_revision: int
    title: str
    source_uri: str
    media_type: str


def concatenate_passages(parts: Sequence[tuple[Passages, Rows]]) -> Passages:
    """Return the passages at the rows of each part, one part after the other."""
    headings, heading_codes = _concatenate_coded(
        [(passages.headings, passages.heading_codes[rows]) for passages, rows in parts], {}
    )
    metadata, metadata_codes = _concatenate_coded(
        [(passages.metadata, passages.metadata_codes[rows]) for passages, rows in parts], {_NO_METADATA: 0}
    )
    numbers = {
        name: np.concatenate([getattr(passages, name)[rows] for passages, rows in parts])
        for name in ("ids", *_NUMBERS)
    }
    return Passages(
        texts=concatenate_strings([(passages.texts, rows) for passages, rows in parts]),
        headings=headings,
        heading_codes=heading_codes,
        metadata=metadata,
        metadata_codes=metadata_codes,
        boxes=concatenate_boxes([(passages.boxes, rows) for passages, rows in parts]),
        **numbers,
    )


def _concatenate_coded(
    parts: Sequence[tuple[Strings, npt.NDArray[np.int32]]], known: dict[str, int]
) -> tuple[Strings, npt.NDArray[np.int32]]:
    """Return one dictionary and the codes in it; texts that no code stands for are left out, save `known`."""
    codes = []
    for texts, old_codes in parts:
        renumbered = np.zeros(len(texts), np.int32)
        for index in np.unique(old_codes).tolist():
            renumbered[index] = known.setdefault(texts[index], len(known))
        codes.append(renumbered[old_codes])
    return Strings.of(known), np.concatenate(codes)


def _encoded(metadata: Metadata) -> str:
    return json.dumps(metadata_to_json(metadata), ensure_ascii=False) if metadata else _NO_METADATA


def _int32(values: object) -> npt.NDArray[np.int32]:
    return np.fromiter(values, np.int32)  # type: ignore[call-overload, no-any-return]  # an iterable of int


def _page(page: int | None) -> int:
    return _NO_PAGE if page is None else page
