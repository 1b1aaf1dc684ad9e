"""F15, and two writers and fifty readers at once: every answer is one that some revision could have given."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from rag.v1 import chunking_pb2, options_pb2, retriever_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from rag_server.app import running_server
from rag_server.domain.collection import Collection
from tests.conftest import make_settings
from tests.rag_client import RagClient, ServerUnderTest

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHUNKING = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=24, overlap_ratio=0))
PARTS = 3
OWN_QUESTIONS = 5
"""One reader in so many asks something else each time; what the others ask may come from the cache."""
ALL = {"top_k": 100, "candidate_count": 100}
_MARK = re.compile(r"version (\d+)\b")
_numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def without_memory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerUnderTest]:
    """Run a server that keeps no collection in memory: the store answers everything."""
    settings = make_settings(
        tmp_path_factory.mktemp("without_memory"),
        server={"health_interval_s": 3600.0},
        retrieval={"resident_memory_bytes": 0},
    )
    async with running_server(settings) as running, RagClient(running.address) as client:
        yield ServerUnderTest(running, settings, client)


def text_of(version: int) -> str:
    """Return a document of `PARTS` chunks, each of which carries the number of its version."""
    return "\n\n".join(
        f"In version {version} the shelf {part} of the hall holds {part + 1} green bottles of olive oil."
        for part in range(PARTS)
    )


def question_of(reader: int) -> str:
    """Return what a reader asks this time."""
    own = f" question {next(_numbers)}" if reader % OWN_QUESTIONS == 1 else ""
    return f"which bottles stand on the shelf?{own}"


async def engine_of(client: RagClient, name: str) -> retriever_pb2.RetrievalEngine.ValueType:
    response = await client.search(name, "bottles", explain=options_pb2.Explain())
    return response.explanation.collections[0].engine


def whole_versions(response: retrieve_pb.RetrieveResponse) -> dict[str, int]:
    """Return the revision of each document in an answer; each has to be there whole, and in one revision."""
    by_document: dict[str, list[tuple[int, int, list[str]]]] = {}
    for result in response.results:
        chunk = result.chunk
        entry = (chunk.document_revision, chunk.ordinal, _MARK.findall(chunk.text))
        by_document.setdefault(chunk.document_id, []).append(entry)
    versions = {}
    for document_id, entries in by_document.items():
        revision = entries[0][0]
        expected = [(revision, ordinal, [str(revision)]) for ordinal in range(PARTS)]
        assert sorted(entries) == expected, (document_id, sorted(entries))
        versions[document_id] = revision
    return versions


@dataclass(frozen=True)
class Answer:
    """One answer, and the latest revisions that were known when it was asked for and when it had come."""

    first: int
    last: int
    searched: int
    versions: dict[str, int]


class Hall:
    """A collection that is written and read at once."""

    def __init__(self, server: ServerUnderTest, collection: Collection) -> None:
        self.client = server.client
        self.name = collection.id
        self._uid = collection.uid
        self._parts = server.running.parts

    @classmethod
    async def of(cls, server: ServerUnderTest, name: str) -> Hall:
        """Return the hall over a collection that exists."""
        async with server.running.parts.database.snapshot() as tx:
            return cls(server, await tx.collections.get("default", name))

    async def write(self, prefix: str, writes: int) -> None:
        """Write two documents in turn; every third write deletes what the one before last has written."""
        versions = dict.fromkeys((f"{prefix}{number}" for number in range(2)), 0)
        for number, document_id in zip(range(1, writes + 1), itertools.cycle(versions), strict=False):
            if number % 3 == 0:
                await self.client.documents.DeleteDocument(
                    document_pb.DeleteDocumentRequest(collection_id=self.name, document_id=document_id)
                )
            else:
                versions[document_id] += 1
                job = await self.client.ingest_text(
                    self.name, text_of(versions[document_id]), document_id, chunking=CHUNKING
                )
                assert job.document_revision == versions[document_id]

    async def read(self, query: str) -> Answer:
        first = self._parts.retrieval.directory.head_revision(self._uid) or 0
        response = await self.client.search(self.name, query, **ALL)
        async with self._parts.database.snapshot() as tx:
            last = (await tx.collections.get("default", self.name)).revision
        assert not response.degradations
        return Answer(first, last, response.collection_revisions[0].revision, whole_versions(response))

    async def states(self) -> list[dict[str, int]]:
        """Return what each revision showed, from the log of the changes."""
        async with self._parts.database.snapshot() as tx:
            changes = await tx.changes.since("default", self._uid, 0, limit=1000)
        assert changes is not None
        states: list[dict[str, int]] = [{}]
        for change in changes:
            state = {name: revision for name, revision in states[-1].items() if name != change.document_id}
            if change.document_revision is not None:
                state[change.document_id] = change.document_revision
            states.append(state)
        return states


async def write_and_read(hall: Hall, *, writes: int, readers: int) -> list[Answer]:
    """Let two write and many read; return the answers."""
    is_over = asyncio.Event()
    answers: list[Answer] = []

    async def read(reader: int) -> None:
        while not is_over.is_set():
            answers.append(await hall.read(question_of(reader)))

    async with asyncio.TaskGroup() as group:
        for reader in range(readers):
            group.create_task(read(reader))
        try:
            async with asyncio.TaskGroup() as writers:
                for prefix in "ab":
                    writers.create_task(hall.write(prefix, writes))
        finally:
            is_over.set()
    assert len(answers) >= readers
    return answers


async def test_readers_beside_writers_each_answer_is_of_one_revision(
    server: ServerUnderTest, collection: str
) -> None:
    hall = await Hall.of(server, collection)
    await hall.client.search(collection, "bottles")
    answers = await write_and_read(hall, writes=7, readers=50)
    assert await engine_of(hall.client, collection) == retriever_pb2.RETRIEVAL_ENGINE_RESIDENT
    states = await hall.states()
    assert len(states) == 2 * 7 + 1
    for answer in answers:
        assert answer.first <= answer.searched <= answer.last, answer
        assert answer.versions == states[answer.searched], (answer, states)
    final = await hall.read("which bottles stand there in the end?")
    assert final.versions == states[-1]


async def test_readers_beside_writers_the_store_gives_whole_versions_that_were_there(
    without_memory: ServerUnderTest,
) -> None:
    """The store has no snapshots: its answer may join documents of neighbouring revisions."""
    await without_memory.client.create_collection("hall")
    hall = await Hall.of(without_memory, "hall")
    answers = await write_and_read(hall, writes=4, readers=5)
    assert await engine_of(hall.client, "hall") == retriever_pb2.RETRIEVAL_ENGINE_STORE
    states = await hall.states()
    for answer in answers:
        seen = [state.items() for state in states[answer.first : answer.last + 1]]
        assert all(any(item in state for state in seen) for item in answer.versions.items()), answer
    assert (await hall.read("which bottles stand there in the end?")).versions == states[-1]


@pytest.mark.parametrize("engine", ["resident", "store"])
async def test_delete_while_retrieving_nothing_is_found_once_it_was_answered(
    server: ServerUnderTest, without_memory: ServerUnderTest, engine: str
) -> None:
    under_test = server if engine == "resident" else without_memory
    client, name = under_test.client, f"test-delete-{engine}"
    await client.create_collection(name)
    documents = [f"doc{number}" for number in range(5)]
    for document_id in documents:
        await client.ingest_text(name, text_of(1), document_id, chunking=CHUNKING)
    await client.search(name, "bottles")
    deleted: set[str] = set()
    counts: list[int] = []
    is_over = asyncio.Event()

    async def read(reader: int) -> None:
        while not is_over.is_set():
            gone = set(deleted)
            response = await client.search(name, question_of(reader), **ALL)
            assert not gone & set(whole_versions(response)), gone
            counts.append(len(gone))

    async def delete() -> None:
        for document_id in documents:
            before = len(counts)
            while len(counts) < before + 4:  # noqa: ASYNC110 - some answers in between
                await asyncio.sleep(0)
            await client.documents.DeleteDocument(
                document_pb.DeleteDocumentRequest(collection_id=name, document_id=document_id)
            )
            deleted.add(document_id)
        is_over.set()

    async with asyncio.TaskGroup() as group:
        for reader in range(4):
            group.create_task(read(reader))
        group.create_task(delete())
    assert len(set(counts)) > 2
    assert not (await client.search(name, "which bottles are left?", **ALL)).results
    expected = f"RETRIEVAL_ENGINE_{engine.upper()}"
    assert retriever_pb2.RetrievalEngine.Name(await engine_of(client, name)) == expected
