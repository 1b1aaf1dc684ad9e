from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rag_server.assistants.resident import ResidentAssistants
from rag_server.domain.assistant import Assistant, AssistantHead
from rag_server.errors import Unavailable
from tests.unit.rag_server.assistants.conftest import TENANT, Embedder, assistant, head

HR = assistant("hr", keywords=("leave",), examples=("How long is the leave?", "Who is paid?"))
IT = assistant("it", examples=("How is a password changed?",))


class Store:
    """What there is; loads are counted."""

    def __init__(self, *stored: Assistant) -> None:
        self.stored = {each.uid: each for each in stored}
        self.loads: list[list[str]] = []

    @property
    def heads(self) -> list[AssistantHead]:
        return [head(each) for each in self.stored.values()]

    async def load(self, uids: Sequence[str]) -> list[Assistant]:
        self.loads.append(sorted(uids))
        return [self.stored[uid] for uid in uids if uid in self.stored]


async def test_assistants_are_made_once_per_revision(embedder: Embedder) -> None:
    resident, store = ResidentAssistants(embedder, capacity=9), Store(HR, IT)
    for _ in range(2):
        hr, it = await resident.get(TENANT, store.heads, store.load)
    assert (hr.id, hr.revision, hr.examples, len(hr.vectors)) == ("hr", 1, HR.profile.examples, 2)
    assert it.id == "it"
    assert store.loads == [["uid-hr", "uid-it"]]
    assert embedder.texts == [*HR.profile.examples, *IT.profile.examples]


async def test_new_revision_is_made_and_the_others_stay(embedder: Embedder) -> None:
    resident, store = ResidentAssistants(embedder, capacity=9), Store(HR, IT)
    await resident.get(TENANT, store.heads, store.load)
    store.stored["uid-it"] = assistant("it", revision=2, examples=("Where is the printer?",))
    found = await resident.get(TENANT, store.heads, store.load)
    assert [(each.id, each.revision) for each in found] == [("hr", 1), ("it", 2)]
    assert store.loads[1:] == [["uid-it"]]
    assert resident.count == 2


async def test_assistant_that_is_gone_meanwhile_is_left_out(embedder: Embedder) -> None:
    resident, store = ResidentAssistants(embedder, capacity=9), Store(HR, IT)
    heads = store.heads
    del store.stored["uid-hr"]
    assert [each.id for each in await resident.get(TENANT, heads, store.load)] == ["it"]


async def test_tenants_do_not_share_what_is_kept(embedder: Embedder) -> None:
    resident, store = ResidentAssistants(embedder, capacity=9), Store(HR)
    for tenant in (TENANT, "globex"):
        await resident.get(tenant, store.heads, store.load)
    assert len(store.loads) == 2


async def test_least_recently_used_is_forgotten(embedder: Embedder) -> None:
    resident = ResidentAssistants(embedder, capacity=2)
    store = Store(*(assistant(name) for name in "abc"))
    a, b, c = ([each] for each in store.heads)
    for heads in (a, b, a, c):
        await resident.get(TENANT, heads, store.load)
    assert resident.count == 2
    await resident.get(TENANT, a, store.load)
    assert store.loads[3:] == []
    await resident.get(TENANT, b, store.load)
    assert store.loads[3:] == [["uid-b"]]


async def test_calls_at_the_same_moment_make_each_once(embedder: Embedder) -> None:
    resident, store = ResidentAssistants(embedder, capacity=9), Store(HR, IT)
    await asyncio.gather(*(resident.get(TENANT, store.heads, store.load) for _ in range(8)))
    assert len(store.loads) == 1


async def test_what_was_made_before_a_failure_is_kept(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, store = ResidentAssistants(embedder, capacity=9), Store(HR, IT)
    embed = embedder.embed

    async def down(texts: Sequence[str], **options: object) -> object:
        if list(texts) == list(IT.profile.examples):
            raise Unavailable("EMBEDDER_UNAVAILABLE", "down")
        return await embed(texts)

    monkeypatch.setattr(embedder, "embed", down)
    with pytest.raises(Unavailable):
        await resident.get(TENANT, store.heads, store.load)
    monkeypatch.undo()
    assert len(await resident.get(TENANT, store.heads, store.load)) == 2
    assert store.loads[1:] == [["uid-it"]]
