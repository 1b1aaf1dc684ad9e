"""The compiled expressions, judged by Milvus Lite against the reference evaluator."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_server.backends.milvus import MilvusChunkStore
from rag_server.backends.milvus.expression import MAX_DEPTH, compile_filter
from rag_server.domain.filter import Bool, Comparison, Exists, Filter, Membership, Operator, Prefix, Range
from rag_server.domain.metadata import MetadataValue
from rag_server.domain.stored import Scope
from rag_server.errors import InvalidArgument
from rag_server.testing.chunks import DIMENSION, HOSTILE_TEXTS, axis, make_chunk, make_collection
from rag_server.testing.filter_reference import matches

ROW_COUNT = 40
FILTERS_PER_EXAMPLE = 25
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)

letters = st.sampled_from(
    ['"', "'", "\\", "%", "_", "a", "b", "ñ", "🦜", "\uffff", "\U0010ffff", "\n", "{}", "[", "]"]
)
texts = st.one_of(
    st.sampled_from([*HOSTILE_TEXTS, "", '["a"]', '{"a": 1}', "true", "1", "aa", "a%", "a_"]),
    st.lists(letters, max_size=4).map("".join),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "kind": st.sampled_from(["a", "b"]),
    "count": st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63) + 1, 2**53 + 1])),
    "ratio": st.one_of(st.sampled_from([-1.5, 0.0, 0.1, 1e300, 5e-324, 2.0]), st.integers(-2, 2)),
    "flag": st.booleans(),
    "at": st.integers(-3, 3).map(lambda us: EPOCH + timedelta(microseconds=us)),
    "tags": st.lists(st.one_of(st.sampled_from(["a", "b"]), texts), max_size=3).map(tuple),
    'odd "name"]': st.sampled_from(["a", "b"]),
}
ORDERED = ["count", "ratio", "at"]
STRINGS = ["text", "kind", 'odd "name"]']
SCALARS = [*ORDERED, *STRINGS, "flag"]
SYSTEM = ["document_id", "media_type", "source_uri"]


def operators(name: str) -> st.SearchStrategy[Operator]:
    return st.sampled_from(list(Operator) if name in ORDERED else [Operator.EQUAL, Operator.NOT_EQUAL])


def leaves_on(name: str) -> st.SearchStrategy[Filter]:
    field = f"metadata.{name}"
    values = VALUES[name]
    one_of: list[st.SearchStrategy[Filter]] = [st.just(Exists(field))]
    members = texts if name == "tags" else values
    one_of.append(st.builds(Membership, st.just(field), st.lists(members, max_size=3).map(tuple)))
    if name in SCALARS:
        one_of.append(st.builds(Comparison, st.just(field), operators(name), values))
    if name in ORDERED:
        low, high = st.none() | values, st.none() | values
        bounds = st.tuples(low, low, high, high).filter(
            lambda found: any(bound is not None for bound in found)
        )
        one_of.append(bounds.map(lambda found: Range(field, *found)))
    if name in STRINGS or name == "tags":
        one_of.append(st.builds(Prefix, st.just(field), texts))
    return st.one_of(one_of)


def leaves_on_system(name: str) -> st.SearchStrategy[Filter]:
    return st.one_of(
        st.builds(Comparison, st.just(name), st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL]), texts),
        st.builds(Membership, st.just(name), st.lists(texts, max_size=3).map(tuple)),
        st.builds(Prefix, st.just(name), texts),
        st.just(Exists(name)),
    )


leaves = st.one_of([leaves_on(name) for name in VALUES] + [leaves_on_system(name) for name in SYSTEM])
filters: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda inner: st.builds(
        Bool,
        must=st.lists(inner, max_size=2).map(tuple),
        should=st.lists(inner, max_size=2).map(tuple),
        must_not=st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=8,
)
rows = st.tuples(
    st.fixed_dictionaries({}, optional=VALUES),
    st.fixed_dictionaries({"media_type": texts, "source_uri": texts}),
)


async def ids_found(
    folder: Path, documents: list[tuple[dict[str, MetadataValue], dict[str, str]]], asked: list[Filter]
) -> list[set[str]]:
    """Return what Milvus Lite finds for each filter, and check that both legs agree."""
    store = await MilvusChunkStore.open(str(folder), timeout_s=60)
    collection = make_collection()
    await store.ensure_collection(collection)
    client = store._connection.client
    try:
        await store.upsert(collection, [], np.empty((0, DIMENSION), np.float32), [], {})
        for number, (metadata, system) in enumerate(documents):
            chunk = make_chunk(number, document_id=f"d{number}")
            object.__setattr__(chunk, "media_type", system["media_type"])
            object.__setattr__(chunk, "source_uri", system["source_uri"])
            await store.upsert(collection, [chunk], axis(0), [["word"]], dict(metadata))
        found = []
        for filter_ in asked:
            # one query instead of two searches, so that more filters fit into a quick test
            hits = await client.query(
                f"rag_{collection.uid}", filter=compile_filter(filter_), output_fields=["document_id"]
            )
            found.append({hit["document_id"] for hit in hits})
        return found
    finally:
        await store.drop_collection(collection.uid)
        await store.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filters") / "chunks.db"


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(rows, min_size=ROW_COUNT // 2, max_size=ROW_COUNT),
    st.lists(filters, min_size=FILTERS_PER_EXAMPLE, max_size=FILTERS_PER_EXAMPLE * 2),
)
def test_filter_of_any_shape_finds_what_the_reference_finds(
    folder: Path,
    documents: list[tuple[dict[str, MetadataValue], dict[str, str]]],
    asked: list[Filter],
) -> None:
    found = asyncio.run(ids_found(folder, documents, asked))
    for filter_, ids in zip(asked, found, strict=True):
        expected = {
            f"d{number}"
            for number, (metadata, system) in enumerate(documents)
            if matches(filter_, {**system, "document_id": f"d{number}"}, metadata)
        }
        assert ids == expected, (filter_, compile_filter(filter_))


async def search_ids(folder: Path, asked: Filter) -> list[str]:
    store = await MilvusChunkStore.open(str(folder))
    collection = make_collection()
    await store.ensure_collection(collection)
    try:
        for name, metadata in (("has", {"n": 1}), ("other", {"n": 2}), ("lacks", {})):
            await store.upsert(
                collection, [make_chunk(0, document_id=name)], axis(0), [["word"]], dict(metadata)
            )
        dense = await store.search_dense(collection, axis(0)[0], limit=9, scope=Scope(filter=asked))
        lexical = await store.search_lexical(collection, ["word"], limit=9, scope=Scope(filter=asked))
        assert [hit.chunk.id for hit in dense] == [hit.chunk.id for hit in lexical]
        return [hit.chunk.document_id for hit in dense]
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Comparison("metadata.n", Operator.NOT_EQUAL, 1), ["other"]),
        (Bool(must_not=(Comparison("metadata.n", Operator.EQUAL, 1),)), ["lacks", "other"]),
        (Bool(must_not=(Comparison("metadata.n", Operator.NOT_EQUAL, 1),)), ["has", "lacks"]),
        (Bool(must_not=(Membership("metadata.n", (1, 2)),)), ["lacks"]),
        (Bool(must_not=(Range("metadata.n", less_than=2),)), ["lacks", "other"]),
        (Bool(must_not=(Prefix("metadata.absent", "1"),)), ["has", "lacks", "other"]),
        (Bool(must_not=(Exists("metadata.n"),)), ["lacks"]),
        (Membership("metadata.n", ()), []),
        (Bool(), ["has", "lacks", "other"]),
    ],
)
async def test_missing_field_matches_no_comparison_but_every_must_not(
    tmp_path: Path, asked: Filter, expected: list[str]
) -> None:
    assert await search_ids(tmp_path / "chunks.db", asked) == expected


def nested(depth: int) -> Filter:
    inner: Filter = Comparison("metadata.n", Operator.EQUAL, 1)
    for level in range(depth):
        inner = (
            Bool(must_not=(inner,))
            if level % 2
            else Bool(must=(inner,), should=(inner,) if level == 0 else ())
        )
    return inner


async def test_filter_of_the_greatest_depth_is_answered(tmp_path: Path) -> None:
    assert await search_ids(tmp_path / "chunks.db", nested(MAX_DEPTH)) == ["has"]


def test_filter_deeper_than_the_limit_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_filter(nested(MAX_DEPTH + 1))
    assert caught.value.reason == "FILTER_TOO_DEEP"


@pytest.mark.parametrize(
    "asked",
    [
        Comparison("metadata.s", Operator.EQUAL, "nul\x00"),
        Comparison("metadata.s", Operator.EQUAL, "bell\x07"),
        Comparison("metadata.s", Operator.EQUAL, "\ud800"),
        Comparison("metadata.s", Operator.EQUAL, ("a",)),
        Comparison("metadata.x", Operator.LESS, float("nan")),
        Comparison("metadata.x", Operator.LESS, float("inf")),
        Comparison("metadata.n", Operator.EQUAL, 2**63),
        Comparison("document_id", Operator.EQUAL, 1),
        Membership("metadata.s", ("ok", "\x1b")),
        Prefix("metadata.s", "\x00"),
        Range("metadata.n"),
        Exists("metadata."),
        Exists("tenant_id"),
        Comparison('id != "" or text', Operator.EQUAL, "a"),
    ],
    ids=repr,
)
def test_filter_that_no_engine_can_ask_is_refused(asked: Filter) -> None:
    with pytest.raises(InvalidArgument):
        compile_filter(asked)


@pytest.mark.parametrize(
    ("asked", "compiled"),
    [
        (
            Comparison("metadata.s", Operator.EQUAL, 'x" or "1" == "1'),
            '(metadata["value"]["s"] == "x\\" or \\"1\\" == \\"1")',
        ),
        (Prefix("source_uri", "a\U0010ffff"), '(source_uri >= "a\U0010ffff" and source_uri < "b")'),
        (Prefix("source_uri", "\ud7ff"), '(source_uri >= "\ud7ff" and source_uri < "\ue000")'),
        (Prefix("source_uri", "\U0010ffff"), '(source_uri >= "\U0010ffff")'),
        (Comparison("metadata.f", Operator.EQUAL, True), '(metadata["value"]["f"] == true)'),
        (Comparison("metadata.s", Operator.EQUAL, "{}"), '(metadata["value"]["s"] == "{}")'),
    ],
)
def test_filter_compiles_to_known_expression(asked: Filter, compiled: str) -> None:
    assert compile_filter(asked) == compiled
