"""Where a passage stands, for people."""

from __future__ import annotations

from rag.v1.chunk_pb2 import Chunk
from ragctl.output import one_line


def pages(chunk: Chunk) -> str:
    """Return `p. 3` or `pp. 3-4`; empty where the format has no pages."""
    if not chunk.HasField("pages"):
        return ""
    first, last = chunk.pages.first, chunk.pages.last
    return f"p. {first}" if first == last else f"pp. {first}-{last}"


def heading(chunk: Chunk) -> str:
    """Return the headings above the passage, outermost first."""
    return " > ".join(one_line(each) for each in chunk.heading_path)


def title(chunk: Chunk) -> str:
    """Return the title of the document, else its id."""
    return one_line(chunk.title) or chunk.document_id
