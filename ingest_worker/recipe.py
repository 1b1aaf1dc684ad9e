"""What the chunks of a document depend on besides its bytes, as one digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection

from rag_server.backends.protocols import EmbeddingModel
from rag_server.domain.records import Cutting
from rag_server.metadata.codecs import cutting_to_json

PROCESSING_VERSION = 1
"""Raise it with every change of the detection of formats, of a parser, of the normalisation or of a chunker
that shows in the chunks: then documents that are ingested again are processed again, though their bytes are
the same."""


def recipe_of(
    chunking: Cutting, model: EmbeddingModel, *, reads_scans: bool = False, docling: Collection[str] = ()
) -> str:
    """Return a digest, 64 hex digits.

    The same bytes, handed in with the same name and declared type, give by the same recipe the same chunks
    and vectors. The format is not in it: it follows from those, and only a parser process may find it out.
    `reads_scans` is whether scanned pages are read, `docling` are the media types that docling reads.
    """
    ingredients: dict[str, object] = {
        "version": PROCESSING_VERSION,
        "chunking": cutting_to_json(chunking),
        "model": [model.id, model.dimension, model.content_tokens],
    }
    if reads_scans:  # absent without it: the digests of before stay what they are
        ingredients["reads_scans"] = True
    if docling:
        ingredients["docling"] = sorted(docling)
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
