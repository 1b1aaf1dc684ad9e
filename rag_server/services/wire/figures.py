"""How the collections in memory and the caches fare."""

from __future__ import annotations

from datetime import UTC, datetime

from rag.v1 import retriever_pb2 as pb
from rag_server.domain.cache import CacheFigures
from rag_server.query.resident.collection import LoadSource
from rag_server.query.resident.pool import Entry
from rag_server.services.wire.metadata import to_timestamp
from rag_server.services.wire.retriever import to_dense_method

_SOURCES = {
    LoadSource.STORE: pb.LOAD_SOURCE_STORE,
    LoadSource.SNAPSHOT: pb.LOAD_SOURCE_SNAPSHOT,
}


def to_retriever_info(entry: Entry, *, store_query_count: int, head_revision: int | None) -> pb.RetrieverInfo:
    """Return a collection in memory as a message; `head_revision` is the latest that is known of it."""
    resident, state, load = entry.resident, entry.resident.state, entry.resident.last_load
    message = pb.RetrieverInfo(
        collection_id=resident.collection.id,
        state=pb.RETRIEVER_STATE_BUILDING,
        revision=state.revision,
        chunk_count=state.alive_count,
        size_bytes=state.nbytes,
        query_count=entry.query_count,
        store_query_count=store_query_count,
        dense_method=to_dense_method(state.dense_method),
        last_use_time=to_timestamp(datetime.fromtimestamp(entry.last_use, UTC)),
    )
    if load is not None:
        is_behind = head_revision is not None and state.revision < head_revision
        message.state = pb.RETRIEVER_STATE_CATCHING_UP if is_behind else pb.RETRIEVER_STATE_SERVING
        message.build_duration_ms = round(load.duration_s * 1000)
        message.load_source = _SOURCES[load.source]
        message.build_time.CopyFrom(to_timestamp(datetime.fromtimestamp(load.end_time, UTC)))
    return message


def to_cache_info(name: str, figures: CacheFigures) -> pb.CacheInfo:
    """Return a cache's figures as a message."""
    return pb.CacheInfo(
        name=name,
        entry_count=figures.entry_count,
        size_bytes=figures.size_bytes,
        limit_bytes=figures.limit_bytes,
        hit_count=figures.hit_count,
        miss_count=figures.miss_count,
    )
