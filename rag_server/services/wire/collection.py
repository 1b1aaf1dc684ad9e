"""Collections, and how their documents are cut and weighted."""

from __future__ import annotations

from rag.v1 import bm25_pb2, chunking_pb2
from rag.v1 import collection_service_pb2 as pb
from rag_server.domain.collection import (
    CharacterChunking,
    Chunking,
    Collection,
    NewCollection,
    TokenChunking,
)
from rag_server.domain.lexical import Bm25
from rag_server.services.wire.metadata import from_fields, to_fields, to_timestamp
from rag_server.text.analyzer import MULTILINGUAL
from rag_server.validation.defaults import value_or_default


def from_chunking(message: chunking_pb2.Chunking) -> Chunking:
    """Return the strategy with its defaults filled in; none chosen means tokens."""
    if message.WhichOneof("strategy") == "characters":
        return CharacterChunking(
            max_characters=value_or_default(message.characters, "max_characters"),
            overlap_characters=value_or_default(message.characters, "overlap_characters"),
            page_boxes=message.page_boxes,
        )
    return TokenChunking(
        max_tokens=value_or_default(message.tokens, "max_tokens"),
        overlap_ratio=value_or_default(message.tokens, "overlap_ratio"),
        page_boxes=message.page_boxes,
    )


def to_chunking(chunking: Chunking) -> chunking_pb2.Chunking:
    """Return a strategy as a message."""
    if isinstance(chunking, CharacterChunking):
        characters = chunking_pb2.CharacterChunking(
            max_characters=chunking.max_characters, overlap_characters=chunking.overlap_characters
        )
        return chunking_pb2.Chunking(characters=characters, page_boxes=chunking.page_boxes)
    tokens = chunking_pb2.TokenChunking(max_tokens=chunking.max_tokens, overlap_ratio=chunking.overlap_ratio)
    return chunking_pb2.Chunking(tokens=tokens, page_boxes=chunking.page_boxes)


def from_bm25(message: bm25_pb2.Bm25) -> Bm25:
    """Return the parameters with their defaults filled in."""
    return Bm25(k1=value_or_default(message, "k1"), b=value_or_default(message, "b"))


def from_new_collection(collection_id: str, message: pb.Collection) -> NewCollection:
    """Return what a caller asks for; output-only fields are ignored."""
    return NewCollection(
        id=collection_id,
        display_name=message.display_name,
        description=message.description,
        language=message.language or MULTILINGUAL,
        chunking=from_chunking(message.chunking),
        bm25=from_bm25(message.bm25),
        labels=dict(message.labels),
        metadata_fields=from_fields(message.metadata_fields),
    )


def to_collection(collection: Collection) -> pb.Collection:
    """Return a collection as a message."""
    return pb.Collection(
        id=collection.id,
        display_name=collection.display_name,
        description=collection.description,
        language=collection.language,
        embedding_model=collection.embedding_model,
        dimension=collection.dimension,
        chunking=to_chunking(collection.chunking),
        bm25=bm25_pb2.Bm25(k1=collection.bm25.k1, b=collection.bm25.b),
        labels=collection.labels,
        metadata_fields=to_fields(collection.metadata_fields),
        revision=collection.revision,
        document_count=collection.document_count,
        chunk_count=collection.chunk_count,
        create_time=to_timestamp(collection.create_time),
        update_time=to_timestamp(collection.update_time),
    )
