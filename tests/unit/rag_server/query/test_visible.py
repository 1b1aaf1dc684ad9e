"""Answers while documents change: nothing that was deleted leaves, and the answer is made anew."""

from __future__ import annotations

import asyncio

import pytest

from rag_server.domain.retrieval import CrossEncoder, Degradation, Drop, Grouping, Mmr
from rag_server.errors import Unavailable
from rag_server.query.pipeline import ROUNDS
from tests.unit.rag_server.query.rig import BOTH_ENGINES, TENANT, Happening, Rig, documents, texts

DOWN = Unavailable("VECTOR_STORE_UNAVAILABLE", "m")


def once(happening: Happening) -> Happening:
    """Return what happens the first time only."""
    is_over = False

    async def happen() -> None:
        nonlocal is_over
        if not is_over:
            is_over = True
            await happening()

    return happen


@BOTH_ENGINES
async def test_document_deleted_after_the_search_is_not_in_the_answer_which_is_made_anew(rig: Rig) -> None:
    await rig.put("best", "heron")
    await rig.put("next", "heron of the lake")
    rig.reranker.meanwhile = once(lambda: rig.delete("best"))
    result = await rig.ask("heron", rerank=CrossEncoder(), top_k=1, candidate_count=1)
    assert documents(result) == ["next"]
    assert len(rig.reranker.calls) == 2
    assert result.collection_revisions == {"books": 3}


@BOTH_ENGINES
async def test_document_replaced_after_the_search_is_in_the_answer_as_it_was(rig: Rig) -> None:
    await rig.put("doc", "old heron")

    async def replace() -> None:
        await rig.put("doc", "new heron")

    rig.reranker.meanwhile = once(replace)
    result = await rig.ask("heron", rerank=CrossEncoder())
    assert (texts(result), result.collection_revisions) == (["old heron"], {"books": 1})
    assert len(rig.reranker.calls) == 1
    assert texts(await rig.ask("heron")) == ["new heron"]


@BOTH_ENGINES
async def test_document_deleted_and_written_again_after_the_search_is_there_in_its_new_version(
    rig: Rig,
) -> None:
    await rig.put("doc", "old heron")

    async def write_again() -> None:
        await rig.delete("doc")
        await rig.put("doc", "new heron")

    rig.reranker.meanwhile = once(write_again)
    assert texts(await rig.ask("heron", rerank=CrossEncoder())) == ["new heron"]


@BOTH_ENGINES
async def test_commit_that_concerns_no_result_lets_the_answer_stand(rig: Rig) -> None:
    await rig.put("doc", "heron")
    await rig.put("other", "bread")

    async def change_others() -> None:
        await rig.delete("other")
        await rig.put("third", "oven")

    rig.reranker.meanwhile = once(change_others)
    result = await rig.ask('"heron"', rerank=CrossEncoder())
    assert documents(result) == ["doc"]
    assert len(rig.reranker.calls) == 1


@BOTH_ENGINES
async def test_documents_deleted_each_time_anew_never_leave(rig: Rig) -> None:
    ids = {}
    for index in range(ROUNDS + 3):
        (ids[f"doc{index}"],) = await rig.put(f"doc{index}", "heron" + " lake" * index)

    async def delete_best() -> None:
        _, passages = rig.reranker.calls[-1]
        await rig.delete(f"doc{min(passages, key=len).count('lake')}")

    rig.reranker.meanwhile = delete_best
    traced = tuple(ids.values())
    result = await rig.ask("heron", rerank=CrossEncoder(), is_explained=True, traced_chunk_ids=traced)
    assert documents(result) == [f"doc{ROUNDS + index}" for index in range(3)]
    assert len(rig.reranker.calls) == ROUNDS
    assert result.explanation is not None
    drops = {each.chunk_id: each.drop for each in result.explanation.traces}
    assert [drops[each] for each in ids.values()] == [Drop.ABSENT] * ROUNDS + [Drop.RETURNED] * 3


@BOTH_ENGINES
async def test_collection_deleted_after_the_search_nothing_of_it_leaves(rig: Rig) -> None:
    await rig.make("more")
    await rig.put("doc", "heron")
    await rig.put("other", "heron lake", into="more")

    async def delete() -> None:
        async with rig.database.transaction() as tx:
            await tx.collections.delete(TENANT, "books")

    rig.reranker.meanwhile = once(delete)
    result = await rig.ask("heron", "books", "more", rerank=CrossEncoder())
    assert documents(result) == ["other"]


@BOTH_ENGINES
async def test_document_deleted_while_the_legs_search_is_not_in_the_answer(rig: Rig, engine: str) -> None:
    await rig.put("doc", "heron")
    await rig.put("other", "heron lake")
    if engine == "store":
        rig.store.after_search = lambda: rig.delete("doc")
    else:  # never looks into the store: the document goes after its collection was found in memory
        await rig.warm("books")
        await rig.delete("doc")
    result = await rig.ask("heron", diversity=Mmr(), duplicate_similarity=0.99, grouping=Grouping())
    assert documents(result) == ["other"]


@pytest.fixture
async def stale(rig: Rig) -> Rig:
    """Return a rig whose store has gone down before the collection in memory has read the last revision."""
    await rig.put("kept", "grey heron kept")
    await rig.put("changed", "grey heron of before")
    await rig.put("doomed", "grey heron doomed")
    await rig.warm("books")
    rig.store.failure = DOWN
    await rig.put("changed", "grey heron of after")
    return rig


async def test_stale_collection_answers_from_before_and_says_so(stale: Rig) -> None:
    result = await stale.ask("grey heron")
    assert result.degradations == (Degradation.RESIDENT_STALE,)
    assert result.collection_revisions == {"books": 3}
    assert sorted(texts(result)) == ["grey heron doomed", "grey heron kept", "grey heron of before"]


async def test_stale_collection_shows_nothing_that_was_deleted_since(stale: Rig) -> None:
    await stale.delete("doomed")
    result = await stale.ask("grey heron")
    assert result.degradations == (Degradation.RESIDENT_STALE,)
    assert sorted(documents(result)) == ["changed", "kept"]


async def test_stale_collection_document_deleted_after_the_search_does_not_leave(stale: Rig) -> None:
    stale.reranker.meanwhile = once(lambda: stale.delete("doomed"))
    result = await stale.ask("grey heron", rerank=CrossEncoder())
    assert result.degradations == (Degradation.RESIDENT_STALE,)
    assert sorted(documents(result)) == ["changed", "kept"]


async def test_stale_collection_document_deleted_and_written_again_is_not_there_in_its_old_version(
    stale: Rig,
) -> None:
    async def delete_and_write() -> None:
        await stale.delete("doomed")
        stale.store.failure = None
        await stale.put("doomed", "grey heron reborn")
        stale.store.failure = DOWN

    stale.reranker.meanwhile = once(delete_and_write)
    result = await stale.ask("grey heron", rerank=CrossEncoder())
    assert "grey heron doomed" not in texts(result)


async def test_stale_collection_catches_up_when_the_store_is_back(stale: Rig) -> None:
    await stale.ask("grey heron")
    stale.store.failure = None
    for entry in stale.pool.entries(TENANT):
        entry.resident._retry_at = 0.0  # it waits a second before it asks the store again
    result = await stale.ask("grey heron")
    assert result.degradations == ()
    assert result.collection_revisions == {"books": 4}
    assert sorted(texts(result)) == ["grey heron doomed", "grey heron kept", "grey heron of after"]


@BOTH_ENGINES
async def test_readers_beside_a_writer_see_what_some_revision_had(rig: Rig) -> None:
    """Each chunk carries the number of its version in its text; a version is two chunks."""
    states: list[dict[str, int]] = [{}]
    seen: list[tuple[int, int, list[str]]] = []
    is_over = asyncio.Event()

    async def write() -> None:
        for version in range(1, 7):
            for name in ("a", "b"):
                if version % 3 == 0:
                    await rig.delete(name)
                    states.append({key: value for key, value in states[-1].items() if key != name})
                else:
                    await rig.put(name, f"heron {name} {version}", f"heron lake {name} {version}")
                    states.append({**states[-1], name: version})
        is_over.set()

    async def read() -> None:
        while not is_over.is_set():
            first = len(states) - 1
            result = await rig.ask("heron", top_k=50)
            # a commit is there before its writer has noted it
            seen.append((first, len(states), sorted(texts(result))))

    await asyncio.gather(write(), *(read() for _ in range(4)))

    def texts_of(state: dict[str, int]) -> list[str]:
        pairs = [f"{name} {version}" for name, version in state.items()]
        return sorted([f"heron {each}" for each in pairs] + [f"heron lake {each}" for each in pairs])

    assert len(seen) > 4
    for first, last, observed in seen:
        assert observed in [texts_of(state) for state in states[first : last + 1]]
