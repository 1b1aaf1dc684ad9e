"""Answers that are kept: never stale, never another tenant's, within their bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.v1 import chunk_pb2, explanation_pb2, options_pb2, retrieved_chunk_pb2, timings_pb2
from rag.v1 import retrieve_service_pb2 as pb
from rag_server.domain.cache import CacheFigures
from rag_server.domain.collection import Collection
from rag_server.services.response_cache import ResponseCache
from tests.unit.rag_server.query.conftest import make_collection

LIMIT = 100_000


class Directory:
    """Knows what it is told; a collection that it forgets has to be asked for."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Collection] = {}
        for tenant_id in ("acme", "globex"):
            for name in ("books", "papers"):
                self.set(name, tenant_id=tenant_id, uid=f"{tenant_id}-{name}")

    def set(self, name: str = "books", *, tenant_id: str = "acme", **fields: Any) -> None:
        before = self.known.get((tenant_id, name), replace(make_collection(name), tenant_id=tenant_id))
        self.known[tenant_id, name] = replace(before, **fields)

    def forget(self, name: str = "books", *, tenant_id: str = "acme") -> None:
        del self.known[tenant_id, name]

    def peek(self, tenant_id: str, collection_id: str) -> Collection | None:
        return self.known.get((tenant_id, collection_id))


def request(query: str = "heron", *names: str, **options: Any) -> pb.RetrieveRequest:
    return pb.RetrieveRequest(
        collection_ids=names or ("books",), query=query, options=options_pb2.RetrievalOptions(**options)
    )


def response(text: str = "grey heron", *, revision: int = 3, **fields: Any) -> pb.RetrieveResponse:
    names = fields.pop("names", ("books",))
    return pb.RetrieveResponse(
        results=[retrieved_chunk_pb2.RetrievedChunk(chunk=chunk_pb2.Chunk(text=text), rank=1)],
        collection_revisions=[
            retrieved_chunk_pb2.CollectionRevision(collection_id=name, revision=revision) for name in names
        ],
        timings=timings_pb2.Timings(total_us=5),
        **fields,
    )


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def cache(directory: Directory) -> ResponseCache:
    return ResponseCache(LIMIT, directory)


def put(
    cache: ResponseCache, asked: pb.RetrieveRequest, answer: pb.RetrieveResponse, tenant_id: str = "acme"
) -> None:
    """Keep an answer of the collections that `Directory` begins with."""
    names = [each.collection_id for each in answer.collection_revisions]
    cache.put(tenant_id, asked, answer, {name: f"{tenant_id}-{name}" for name in names})


def text_of(found: pb.RetrieveResponse | None) -> str | None:
    return None if found is None else found.results[0].chunk.text


def test_get_the_same_request_is_answered_as_before_without_its_timings(cache: ResponseCache) -> None:
    assert cache.get("acme", request()) is None
    put(cache, request(), response())
    found = cache.get("acme", request())
    assert found is not None
    assert not found.HasField("timings")
    found.timings.CopyFrom(response().timings)
    assert found == response()


@pytest.mark.parametrize(
    "other",
    [
        request("egret"),
        request("heron", "papers"),
        request("heron", "books", "papers"),
        request(top_k=10),
        request(query_syntax=options_pb2.QUERY_SYNTAX_PLAIN),
    ],
)
def test_get_another_request_is_not_answered(cache: ResponseCache, other: pb.RetrieveRequest) -> None:
    put(cache, request(), response())
    assert cache.get("acme", other) is None


def test_get_same_request_of_another_tenant_is_not_answered(cache: ResponseCache) -> None:
    put(cache, request(), response("of acme"))
    assert cache.get("globex", request()) is None
    put(cache, request(), response("of globex"), "globex")
    assert text_of(cache.get("acme", request())) == "of acme"
    assert text_of(cache.get("globex", request())) == "of globex"


def test_get_after_a_commit_is_not_answered_until_it_was_searched_anew(
    cache: ResponseCache, directory: Directory
) -> None:
    put(cache, request(), response("before"))
    directory.set(revision=4)
    assert cache.get("acme", request()) is None
    put(cache, request(), response("after", revision=4))
    assert text_of(cache.get("acme", request())) == "after"


def test_get_of_a_collection_made_again_with_the_same_revision_is_not_answered(
    cache: ResponseCache, directory: Directory
) -> None:
    put(cache, request(), response())
    directory.set(uid="another")
    assert cache.get("acme", request()) is None


def test_get_of_a_collection_that_has_to_be_asked_for_is_not_answered(
    cache: ResponseCache, directory: Directory
) -> None:
    put(cache, request(), response())
    directory.forget()
    assert cache.get("acme", request()) is None


def test_get_of_several_collections_needs_all_of_them_unchanged(
    cache: ResponseCache, directory: Directory
) -> None:
    both = request("heron", "books", "papers")
    put(cache, both, response(names=("books", "papers")))
    assert cache.get("acme", both) is not None
    directory.set("papers", revision=4)
    assert cache.get("acme", both) is None


@pytest.mark.parametrize("revision", [2, 4])
def test_put_of_another_revision_than_the_latest_is_not_kept(cache: ResponseCache, revision: int) -> None:
    put(cache, request(), response(revision=revision))
    assert cache.figures().entry_count == 0


def test_put_of_the_collection_that_had_the_name_before_is_not_kept(
    cache: ResponseCache, directory: Directory
) -> None:
    directory.set(uid="made-again")
    put(cache, request(), response())
    assert cache.get("acme", request()) is None


def test_put_while_a_collection_is_not_known_is_not_kept(cache: ResponseCache, directory: Directory) -> None:
    directory.forget()
    put(cache, request(), response())
    directory.set(revision=3)
    assert cache.get("acme", request()) is None


def test_put_of_an_answer_whose_query_has_stop_words_only_is_kept(cache: ResponseCache) -> None:
    put(cache, request(), response(degradations=[retrieved_chunk_pb2.DEGRADATION_DENSE_ONLY]))
    assert cache.get("acme", request()) is not None


@pytest.mark.parametrize(
    "degradation",
    sorted(set(retrieved_chunk_pb2.Degradation.values()[1:]) - {retrieved_chunk_pb2.DEGRADATION_DENSE_ONLY}),
)
def test_put_of_a_degraded_answer_is_not_kept(
    cache: ResponseCache, degradation: retrieved_chunk_pb2.Degradation.ValueType
) -> None:
    put(cache, request(), response(degradations=[degradation]))
    assert cache.get("acme", request()) is None


def test_put_of_an_explained_answer_is_not_kept(cache: ResponseCache) -> None:
    explained = request(explain=options_pb2.Explain())
    put(cache, explained, response(explanation=explanation_pb2.Explanation()))
    assert cache.get("acme", explained) is None
    assert cache.figures() == CacheFigures(0, 0, LIMIT, 0, 0)


def test_answers_that_callers_change_do_not_change_what_is_kept(cache: ResponseCache) -> None:
    given = response()
    put(cache, request(), given)
    given.results[0].chunk.text = "changed"
    first = cache.get("acme", request())
    assert first is not None
    del first.results[:]
    assert text_of(cache.get("acme", request())) == "grey heron"


def test_cache_of_no_bytes_keeps_nothing_and_counts_nothing(directory: Directory) -> None:
    cache = ResponseCache(0, directory)
    put(cache, request(), response())
    assert cache.get("acme", request()) is None
    assert cache.figures() == CacheFigures(0, 0, 0, 0, 0)


def test_answer_greater_than_the_limit_is_not_kept_and_pushes_nothing_out(cache: ResponseCache) -> None:
    put(cache, request(), response())
    put(cache, request("all"), response("x" * LIMIT))
    assert cache.get("acme", request("all")) is None
    assert cache.get("acme", request()) is not None


def test_least_recently_used_goes_first(directory: Directory) -> None:
    cache = ResponseCache(20_000, directory)
    text = "x" * 2_000  # three of them fit
    for query in ("a", "b", "c"):
        put(cache, request(query), response(text))
    assert cache.get("acme", request("a")) is not None
    put(cache, request("d"), response(text))
    assert [cache.get("acme", request(query)) is not None for query in "abcd"] == [True, False, True, True]


def test_figures_count_entries_bytes_hits_and_misses(cache: ResponseCache, directory: Directory) -> None:
    cache.get("acme", request())
    put(cache, request(), response())
    cache.get("acme", request())
    cache.get("acme", request())
    directory.set(revision=4)
    cache.get("acme", request())
    figures = cache.figures()
    assert (figures.entry_count, figures.hit_count, figures.miss_count) == (1, 2, 2)
    assert response().ByteSize() < figures.size_bytes <= figures.limit_bytes == LIMIT


_TENANTS = st.sampled_from(["acme", "globex"])
_NAMES = st.sampled_from([("books",), ("papers",), ("books", "papers")])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), _TENANTS, _NAMES, st.sampled_from(["a", "b"])),
        st.tuples(st.just("commit"), _TENANTS, st.sampled_from(["books", "papers"]), st.just("")),
        st.tuples(st.just("remake"), _TENANTS, st.sampled_from(["books", "papers"]), st.just("")),
        st.tuples(st.just("forget"), _TENANTS, st.sampled_from(["books", "papers"]), st.just("")),
        st.tuples(st.just("ask late"), _TENANTS, _NAMES, st.sampled_from(["a", "b"])),
        st.tuples(st.just("answer"), _TENANTS, _NAMES, st.just("")),
    ),
    max_size=60,
)


class World:
    """Collections that change; an answer's text says which states of whose collections it was made of."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.cache = ResponseCache(6_000, self.directory)  # a few entries: some are pushed out
        self.states = dict(self.directory.known)
        self.late: list[tuple[str, pb.RetrieveRequest, pb.RetrieveResponse, dict[str, str]]] = []
        self.made = 0

    def truth(self, tenant_id: str, asked: pb.RetrieveRequest) -> str:
        states = [self.states[tenant_id, name] for name in asked.collection_ids]
        return f"{tenant_id} {asked.query} {[(each.uid, each.revision) for each in states]}"

    def search(self, tenant_id: str, asked: pb.RetrieveRequest) -> pb.RetrieveResponse:
        answer = response(self.truth(tenant_id, asked), names=())
        for name in asked.collection_ids:
            state = self.states[tenant_id, name]
            answer.collection_revisions.add(collection_id=name, revision=state.revision)
            self.directory.known[tenant_id, name] = state  # a search has asked for it
        return answer

    def ask(self, tenant_id: str, names: tuple[str, ...], query: str, *, is_late: bool) -> None:
        asked = request(query, *names)
        found = self.cache.get(tenant_id, asked)
        if found is not None:
            assert text_of(found) == self.truth(tenant_id, asked)
            return
        answer = self.search(tenant_id, asked)
        uids = {name: self.states[tenant_id, name].uid for name in names}
        self.late.append((tenant_id, asked, answer, uids))
        if not is_late:
            self.put_late()

    def change(self, tenant_id: str, name: str, *, is_made_again: bool) -> None:
        state = self.states[tenant_id, name]
        if is_made_again:  # it may well come to the revision that the one before it had
            self.made += 1
            state = replace(state, uid=f"made-{self.made}", revision=state.revision)
        else:
            state = replace(state, revision=state.revision + 1)
        self.states[tenant_id, name] = state
        self.directory.known.pop((tenant_id, name), None)

    def put_late(self) -> None:
        for each in self.late:
            self.cache.put(*each)
        self.late.clear()


@given(_STEPS)
def test_answers_are_always_those_of_the_latest_state_and_of_ones_own_tenant(
    steps: list[tuple[str, str, Any, str]],
) -> None:
    world = World()
    for kind, tenant_id, what, query in steps:
        match kind:
            case "ask" | "ask late":
                world.ask(tenant_id, what, query, is_late=kind == "ask late")
            case "commit" | "remake":
                world.change(tenant_id, what, is_made_again=kind == "remake")
            case "forget":
                world.directory.known.pop((tenant_id, what), None)
            case "answer":
                world.put_late()
        figures = world.cache.figures()
        assert figures.size_bytes <= figures.limit_bytes
