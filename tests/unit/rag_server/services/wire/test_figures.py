from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from rag.v1 import retriever_pb2 as pb
from rag_server.domain.cache import CacheFigures
from rag_server.query.resident.collection import Load, LoadSource
from rag_server.services.wire.figures import to_cache_info, to_retriever_info
from rag_server.services.wire.metadata import to_timestamp

BUILT = datetime(2026, 6, 1, 12, tzinfo=UTC)
USED = datetime(2026, 6, 1, 13, tzinfo=UTC)
LOAD = Load(LoadSource.SNAPSHOT, revision=5, duration_s=1.2345, end_time=BUILT.timestamp())


def entry(load: Load | None, *, revision: int = 7, dense_method: str = "hnsw") -> Any:
    """Return what is asked of an entry of the pool."""
    state = SimpleNamespace(revision=revision, alive_count=40, nbytes=5000, dense_method=dense_method)
    resident = SimpleNamespace(collection=SimpleNamespace(id="books"), state=state, last_load=load)
    return SimpleNamespace(resident=resident, query_count=11, last_use=USED.timestamp())


def test_to_retriever_info_tells_everything() -> None:
    assert to_retriever_info(entry(LOAD), store_query_count=3, head_revision=7) == pb.RetrieverInfo(
        collection_id="books",
        state=pb.RETRIEVER_STATE_SERVING,
        revision=7,
        chunk_count=40,
        size_bytes=5000,
        query_count=11,
        store_query_count=3,
        dense_method=pb.DENSE_METHOD_HNSW,
        build_duration_ms=1234,
        load_source=pb.LOAD_SOURCE_SNAPSHOT,
        build_time=to_timestamp(BUILT),
        last_use_time=to_timestamp(USED),
    )


@pytest.mark.parametrize(
    ("head_revision", "state"),
    [
        (None, pb.RETRIEVER_STATE_SERVING),
        (6, pb.RETRIEVER_STATE_SERVING),
        (8, pb.RETRIEVER_STATE_CATCHING_UP),
    ],
)
def test_to_retriever_info_state_follows_the_latest_revision(
    head_revision: int | None, state: pb.RetrieverState.ValueType
) -> None:
    store = replace(LOAD, source=LoadSource.STORE)
    message = to_retriever_info(entry(store), store_query_count=0, head_revision=head_revision)
    assert (message.state, message.load_source) == (state, pb.LOAD_SOURCE_STORE)


def test_to_retriever_info_of_one_that_is_being_built_leaves_out_what_is_not_settled() -> None:
    message = to_retriever_info(
        entry(None, revision=0, dense_method=""), store_query_count=3, head_revision=9
    )
    assert message.state == pb.RETRIEVER_STATE_BUILDING
    assert not message.HasField("dense_method")
    assert not message.HasField("build_time")
    assert message.load_source == pb.LOAD_SOURCE_UNSPECIFIED


def test_to_cache_info_tells_everything() -> None:
    assert to_cache_info("results", CacheFigures(1, 2, 3, 4, 5)) == pb.CacheInfo(
        name="results", entry_count=1, size_bytes=2, limit_bytes=3, hit_count=4, miss_count=5
    )
