from __future__ import annotations

from dataclasses import replace

import numpy as np

from rag_server.domain.document import Chunk
from rag_server.domain.page_boxes import PageBox
from rag_server.query.resident.passages import ChunkSource, Passages, concatenate_passages
from rag_server.testing.chunks import make_chunk

SOURCE = ChunkSource(
    "acme", "manuals", "guide", 1, "The guide", "https://example.org/guide?a=1&b=%20", "text/markdown"
)
BOXES = (PageBox(3, 1, 2, 3, 4), PageBox(4, 0, 0, 10_000, 10_000))
CHUNKS = [
    replace(make_chunk(0), heading_path=(), text=""),
    replace(make_chunk(1), heading_path=("Á “x”", "b\n"), page_start=3, page_end=4, boxes=BOXES),
    replace(make_chunk(2), heading_path=("Á “x”", "b\n"), text="🦜 \x00 end"),
    make_chunk(3),
]


def chunks_of(passages: Passages) -> list[Chunk]:
    return passages.chunks(np.arange(len(passages)), [SOURCE] * len(passages))


def test_passages_give_chunks_back_as_they_were() -> None:
    passages = Passages.of(CHUNKS)
    assert chunks_of(passages) == CHUNKS
    assert len(passages.headings) == 3  # a path that two share is there once


def test_passages_from_their_arrays_are_the_same() -> None:
    passages = Passages.of(CHUNKS)
    arrays = passages.arrays()
    assert not any(array.dtype.hasobject for array in arrays.values())
    assert chunks_of(Passages.from_arrays(arrays)) == CHUNKS
    assert passages.nbytes == sum(array.nbytes for array in arrays.values())


def test_passages_concatenated_are_the_chosen_ones_in_order() -> None:
    one, other = Passages.of(CHUNKS[:2]), Passages.of(CHUNKS[2:])
    joined = concatenate_passages([(other, np.array([1, 0])), (one, np.array([1]))])
    assert chunks_of(joined) == [CHUNKS[3], CHUNKS[2], CHUNKS[1]]
    assert len(joined.headings) == 2


def test_passages_concatenated_leave_out_headings_that_nobody_has() -> None:
    """Else those of every revision of a document would pile up."""
    (one,) = [Passages.of(CHUNKS)]
    assert concatenate_passages([(one, np.array([1]))]).headings.to_list() == ['["Á “x”", "b\\n"]']
    assert len(concatenate_passages([(one, np.zeros(0, np.int64))]).headings) == 0


def test_passages_none_at_all_are_a_table_without_rows() -> None:
    nothing = Passages.of([])
    assert len(nothing) == 0
    assert nothing.find("guide:1:00000") is None
    assert len(concatenate_passages([(nothing, np.zeros(0, np.int64))])) == 0
    joined = concatenate_passages([(nothing, np.zeros(0, np.int64)), (Passages.of(CHUNKS), np.arange(4))])
    assert chunks_of(joined) == CHUNKS


def test_passages_find_the_row_of_an_id() -> None:
    passages = Passages.of(CHUNKS)
    assert [passages.find(chunk.id) for chunk in CHUNKS] == [0, 1, 2, 3]
    for absent in ("", "guide:1:0000", "guide:1:000000", "guide:1:00000\0", "ñ", "guide:1:00000 "):
        assert passages.find(absent) is None


def test_passages_of_files_without_boxes_are_read() -> None:
    """Snapshots of before there were boxes stay of use."""
    arrays = {name: array for name, array in Passages.of(CHUNKS).arrays().items() if "boxes" not in name}
    assert chunks_of(Passages.from_arrays(arrays)) == [replace(chunk, boxes=()) for chunk in CHUNKS]
