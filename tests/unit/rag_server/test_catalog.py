from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.catalog import CollectionDirectory
from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.publication import Publication
from rag_server.errors import NotFound, Unavailable
from rag_server.metadata.database import Database

TENANT = "acme"
LOST = Unavailable("METADATA_STORE_UNAVAILABLE", "m")


def make_collection(name: str = "papers", *, uid: str = "u1", revision: int = 0) -> Collection:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Collection(
        tenant_id=TENANT,
        id=name,
        uid=uid,
        display_name="",
        description="",
        language="en",
        embedding_model="m",
        dimension=4,
        chunking=TokenChunking(),
        labels={},
        metadata_fields={},
        revision=revision,
        document_count=0,
        chunk_count=0,
        create_time=now,
        update_time=now,
    )


@dataclass
class Reading:
    """One question to the database, which goes on when it is told to."""

    is_begun: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: asyncio.Event = field(default_factory=asyncio.Event)


class SlowDatabase:
    """Collections in a dictionary. With `is_held`, readings wait before they look, and before they answer."""

    def __init__(self) -> None:
        self.collections: dict[tuple[str, str], Collection] = {}
        self.readings: list[Reading] = []
        self.is_held = False
        self.failure: Exception | None = None
        self._tell: Callable[[Sequence[CollectionChange]], None] | None = None

    def on_collections_changed(self, listener: Callable[[Sequence[CollectionChange]], None]) -> None:
        self._tell = listener

    def commit(self, new: Collection | None, old: Collection | None = None) -> None:
        """Put `new` in the place of `old`, and tell."""
        assert self._tell is not None
        changes = []
        if old is not None:
            del self.collections[old.tenant_id, old.id]
            if new is None or new.uid != old.uid:
                changes.append(CollectionChange(old.tenant_id, old.id, old.uid, None))
        if new is not None:
            self.collections[new.tenant_id, new.id] = new
            changes.append(CollectionChange(new.tenant_id, new.id, new.uid, new.revision))
        self._tell(changes)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Any]:
        reading = Reading()
        self.readings.append(reading)
        if self.is_held:
            await reading.is_begun.wait()
        seen = dict(self.collections)
        if self.failure is not None:
            raise self.failure

        @dataclass
        class Snapshot:
            collections: Any

        class Collections:
            async def get(self, tenant_id: str, collection_id: str) -> Collection:
                found = seen.get((tenant_id, collection_id))
                if held:
                    await reading.is_ended.wait()
                if found is None:
                    raise NotFound.for_resource("collection", collection_id)
                return found

        held = self.is_held
        yield Snapshot(Collections())


@pytest.fixture
def slow() -> SlowDatabase:
    database = SlowDatabase()
    database.collections[TENANT, "papers"] = make_collection()
    return database


def directory_of(database: SlowDatabase, *, max_collections: int = 8) -> CollectionDirectory:
    return CollectionDirectory(database, max_collections=max_collections)  # type: ignore[arg-type]  # stands in


async def turn() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def revision_of(directory: CollectionDirectory, name: str = "papers") -> int:
    (collection,) = await directory.get_collections(TENANT, [name])
    return collection.revision


async def test_get_collections_again_does_not_ask_the_database(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    other = make_collection("other", uid="u2")
    slow.collections[TENANT, "other"] = other
    first = await directory.get_collections(TENANT, ["other", "papers", "other"])
    assert first == [other, make_collection(), other]
    assert len(slow.readings) == 2
    slow.failure = LOST
    assert await directory.get_collections(TENANT, ["other", "papers", "other"]) == first


async def test_peek_knows_what_was_asked_for_until_it_changes(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    assert directory.peek(TENANT, "papers") is None
    (asked,) = await directory.get_collections(TENANT, ["papers"])
    assert directory.peek(TENANT, "papers") is asked
    assert directory.peek("globex", "papers") is None
    readings = len(slow.readings)
    slow.commit(make_collection(revision=1), asked)
    assert directory.peek(TENANT, "papers") is None
    assert len(slow.readings) == readings
    (changed,) = await directory.get_collections(TENANT, ["papers"])
    assert directory.peek(TENANT, "papers") is changed


async def test_peek_does_not_know_what_a_reading_from_before_a_commit_has_found(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.is_held = True
    caller = asyncio.create_task(revision_of(directory))
    await turn()
    slow.readings[0].is_begun.set()
    await turn()
    slow.commit(make_collection(revision=1))
    slow.readings[0].is_ended.set()
    assert await caller == 0
    assert directory.peek(TENANT, "papers") is None


async def test_get_collections_name_of_another_tenant_is_not_found(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    assert await revision_of(directory) == 0
    with pytest.raises(NotFound):
        await directory.get_collections("globex", ["papers"])


async def test_get_collections_absent_is_asked_for_every_time(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    for _ in range(2):
        with pytest.raises(NotFound) as raised:
            await directory.get_collections(TENANT, ["papers", "new", "newer"])
    assert raised.value.metadata["id"] == "new"
    # a collection that another process made, of which nobody told
    slow.collections[TENANT, "new"] = make_collection("new", uid="u2")
    assert await revision_of(directory, "new") == 0


async def test_get_collections_failure_is_raised_and_not_remembered(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.failure = LOST
    with pytest.raises(Unavailable):
        await directory.get_collections(TENANT, ["papers"])
    slow.failure = None
    assert await revision_of(directory) == 0


async def test_get_collections_many_callers_at_once_share_a_reading(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.is_held = True
    callers = [asyncio.create_task(revision_of(directory)) for _ in range(10)]
    await turn()
    (reading,) = slow.readings
    callers[0].cancel()
    reading.is_begun.set()
    reading.is_ended.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [0] * 9
    assert len(slow.readings) == 1


async def test_get_collections_all_callers_gone_a_failing_reading_troubles_nobody(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.is_held = True
    caller = asyncio.create_task(revision_of(directory))
    await turn()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    slow.failure = LOST
    slow.readings[0].is_begun.set()
    await turn()
    slow.is_held, slow.failure = False, None
    assert await revision_of(directory) == 0


async def test_reading_that_ends_after_a_commit_is_neither_remembered_nor_joined(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.is_held = True
    before = asyncio.create_task(revision_of(directory))
    await turn()
    slow.readings[0].is_begun.set()
    await turn()
    slow.commit(make_collection(revision=1))
    after = asyncio.create_task(revision_of(directory))
    await turn()
    slow.readings[1].is_begun.set()
    slow.readings[1].is_ended.set()
    assert await after == 1
    slow.readings[0].is_ended.set()
    assert await before == 0
    assert await revision_of(directory) == 1
    assert len(slow.readings) == 2
    assert directory.head_revision("u1") == 1


async def test_announce_deleted_and_created_again_shows_the_new_one(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    (old,) = await directory.get_collections(TENANT, ["papers"])
    new = make_collection(uid="u2", revision=3)
    slow.commit(new, old)
    assert await directory.get_collections(TENANT, ["papers"]) == [new]
    assert (directory.head_revision("u1"), directory.head_revision("u2")) == (None, 3)
    slow.commit(None, new)
    with pytest.raises(NotFound):
        await directory.get_collections(TENANT, ["papers"])


async def test_announce_of_unknown_outcome_has_the_collection_read_again(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.commit(make_collection(revision=4))
    assert await revision_of(directory) == 4
    slow.collections[TENANT, "papers"] = make_collection(revision=5)
    directory.announce([CollectionChange(TENANT, "papers", "u1", 0)])
    assert directory.head_revision("u1") == 4
    assert await revision_of(directory) == 5
    assert directory.head_revision("u1") == 5


@given(st.permutations([CollectionChange(TENANT, "papers", "u1", each) for each in (1, 1, 2, 3, None)]))
def test_head_revision_never_goes_back_and_deletion_is_final(changes: list[CollectionChange]) -> None:
    directory = directory_of(SlowDatabase())
    assert directory.head_revision("u1") is None
    highest = 0
    is_deleted = False
    for change in changes:
        directory.announce([change])
        is_deleted = is_deleted or change.revision is None
        highest = max(highest, change.revision or 0)
        assert directory.head_revision("u1") == (None if is_deleted else highest)


async def test_head_revision_is_what_was_read_even_when_it_is_not_remembered(slow: SlowDatabase) -> None:
    directory = directory_of(slow)
    slow.collections[TENANT, "papers"] = make_collection(revision=2)
    slow.is_held = True
    caller = asyncio.create_task(revision_of(directory))
    await turn()
    slow.readings[0].is_begun.set()
    await turn()
    # the word of an earlier commit comes late
    directory.announce([CollectionChange(TENANT, "papers", "u1", 1)])
    slow.readings[0].is_ended.set()
    assert await caller == 2
    assert directory.head_revision("u1") == 2


async def test_directory_keeps_those_used_last(slow: SlowDatabase) -> None:
    directory = directory_of(slow, max_collections=2)
    for name in ("a", "b", "c"):
        slow.collections[TENANT, name] = make_collection(name, uid=name)
    for name in ("a", "b", "a", "c"):
        await revision_of(directory, name)
    assert len(slow.readings) == 3
    slow.failure = LOST
    assert await directory.get_collections(TENANT, ["a", "c"])
    with pytest.raises(Unavailable):
        await revision_of(directory, "b")


Step = tuple[str, int]
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "begin", "end", "end", "commit", "commit", "delete", "uncertain"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


class Interleaving:
    """Readers and one writer whose every step is chosen from outside."""

    names = ("a", "b")

    def __init__(self) -> None:
        self.database = SlowDatabase()
        self.database.is_held = True
        self.directory = directory_of(self.database, max_collections=2)
        self.history: dict[str, list[Collection | None]] = {name: [None] for name in self.names}
        self.asked: list[tuple[str, int, asyncio.Task[Collection | None]]] = []

    async def ask(self, name: str) -> Collection | None:
        try:
            return (await self.directory.get_collections(TENANT, [name]))[0]
        except NotFound:
            return None

    def write(self, name: str, *, is_delete: bool, is_told: bool = True) -> None:
        old, history = self.history[name][-1], self.history[name]
        if is_delete:
            if old is None:
                return
            new = None
        elif old is None:
            new = make_collection(name, uid=f"{name}{len(history)}", revision=0)
        else:
            new = replace(old, revision=old.revision + 1)
        history.append(new)
        if is_told:
            self.database.commit(new, old)
        else:
            assert new is not None
            self.database.collections[TENANT, name] = new
            self.directory.announce([CollectionChange(TENANT, name, new.uid, 0)])

    async def step(self, kind: str, number: int) -> None:
        name = self.names[number % 2]
        open_readings = [each for each in self.database.readings if not each.is_ended.is_set()]
        match kind:
            case "ask":
                floor = len(self.history[name]) - 1
                self.asked.append((name, floor, asyncio.create_task(self.ask(name))))
            case "begin" if open_readings:
                open_readings[number % len(open_readings)].is_begun.set()
            case "end" if open_readings:
                reading = open_readings[number % len(open_readings)]
                reading.is_begun.set()
                reading.is_ended.set()
            case "commit" | "delete":
                self.write(name, is_delete=kind == "delete")
            case "uncertain":
                self.write(name, is_delete=False, is_told=False)
        for _ in range(number):
            await asyncio.sleep(0)
        for each in self.names:
            assert self.directory.peek(TENANT, each) in (None, self.history[each][-1])

    async def run(self, steps: Sequence[Step]) -> None:
        ceilings: dict[int, int] = {}
        for kind, number in steps:
            await self.step(kind, number)
            for index, (name, _, task) in enumerate(self.asked):
                if task.done():
                    ceilings.setdefault(index, len(self.history[name]) - 1)
        self.database.is_held = False
        for reading in self.database.readings:
            reading.is_begun.set()
            reading.is_ended.set()
        for index, (name, floor, task) in enumerate(self.asked):
            answer = await task
            last = ceilings.get(index, len(self.history[name]) - 1)
            # it was so at some moment between question and answer
            assert answer in self.history[name][floor : last + 1]
        for name in self.names:
            assert await self.ask(name) == self.history[name][-1]
            assert self.directory.peek(TENANT, name) == self.history[name][-1]
            self.check_heads(name)

    def check_heads(self, name: str) -> None:
        heads = {each.uid: each.revision for each in self.history[name] if each is not None}
        current = self.history[name][-1]
        for uid, revision in heads.items():
            is_current = current is not None and current.uid == uid
            assert self.directory.head_revision(uid) == (revision if is_current else None)


@given(_STEPS)
def test_get_collections_any_interleaving_of_readers_and_commits_is_never_stale(steps: list[Step]) -> None:
    asyncio.run(Interleaving().run(steps))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}")
    yield database
    await database.close()


async def test_writer_that_has_committed_sees_it_among_many_readers(database: Database) -> None:
    directory = CollectionDirectory(database)
    async with database.transaction() as tx:
        made = await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)
    is_over = asyncio.Event()

    async def read() -> int:
        highest = count = 0
        while not is_over.is_set():
            revision = await revision_of(directory)
            assert revision >= highest
            highest = revision
            count += 1
            await asyncio.sleep(0)
        return count

    async def write() -> None:
        for _ in range(10):
            async with database.transaction() as tx:
                revision = await tx.collections.bump_revision(TENANT, made.uid)
            assert await revision_of(directory) >= revision
            head = directory.head_revision(made.uid)
            assert head is not None
            assert head >= revision

    readers = [asyncio.create_task(read()) for _ in range(5)]
    await asyncio.gather(write(), write())
    is_over.set()
    assert all(await asyncio.gather(*readers))
    assert await revision_of(directory) == 20


async def test_visible_revisions_are_those_of_the_database(database: Database) -> None:
    directory = CollectionDirectory(database)
    async with database.transaction() as tx:
        made = await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)
        job = await tx.jobs.create(TENANT, made.uid, NewDocument("papers", "doc"), chunking=made.chunking)
        await tx.documents.publish(TENANT, job.id, Publication("", "text/plain", "a" * 64, 1, "en", 1, 1))
    assert await directory.visible_revisions(TENANT, made.uid, ["doc", "absent"]) == {"doc": 1}
    assert await directory.visible_revisions(TENANT, made.uid, []) == {}
    assert await directory.visible_revisions("globex", made.uid, ["doc"]) == {}


async def test_deleted_since_are_those_deleted_later_also_when_they_were_written_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_server.catalog._CHANGES", 2)  # several pages
    directory = CollectionDirectory(database)
    async with database.transaction() as tx:
        made = await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)

    async def publish(document_id: str) -> None:
        async with database.transaction() as tx:
            job = await tx.jobs.create(
                TENANT, made.uid, NewDocument("papers", document_id), chunking=made.chunking
            )
            await tx.documents.publish(TENANT, job.id, Publication("", "text/plain", "a" * 64, 1, "en", 1, 1))

    async def delete(document_id: str) -> None:
        async with database.transaction() as tx:
            await tx.documents.delete(TENANT, made.uid, document_id)

    for name in ("a", "b", "c"):
        await publish(name)
    await delete("a")
    await publish("b")
    await delete("c")
    await publish("c")
    since = [await directory.deleted_since(TENANT, made.uid, revision) for revision in range(9)]
    assert since == [{"a", "c"}] * 4 + [{"c"}] * 2 + [frozenset()] * 2 + [None]
    assert await directory.deleted_since("globex", made.uid, 0) is None
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "papers")
    assert await directory.deleted_since(TENANT, made.uid, 0) is None
