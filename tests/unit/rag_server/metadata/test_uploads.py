from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rag_server.domain.collection import CharacterChunking, Collection
from rag_server.domain.document import NewDocument
from rag_server.domain.sweep import SweepKind
from rag_server.domain.upload import Upload, UploadPart
from rag_server.errors import FailedPrecondition, NotFound
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT

PARTS = [UploadPart(0, 4, "a" * 64), UploadPart(4, 6, "b" * 64), UploadPart(10, 1, "a" * 64)]
DOCUMENT = NewDocument("papers", "doc", "Title", "file:x", "x.md", "text/markdown", {"year": 2020})


@pytest.fixture
async def upload(database: Database, collection: Collection) -> Upload:
    async with database.transaction() as tx:
        return await tx.uploads.create(
            TENANT, collection.uid, DOCUMENT, chunking=CharacterChunking(900, 90), sha256="c" * 64
        )


@pytest.fixture
def append(database: Database, upload: Upload) -> Callable[[UploadPart], Awaitable[Upload]]:
    async def append(part: UploadPart) -> Upload:
        async with database.transaction() as tx:
            return await tx.uploads.append(TENANT, upload.id, part)

    return append


async def due_blobs(database: Database) -> list[str]:
    async with database.snapshot() as tx:
        return [each.sha256 for each in await tx.sweeps.next_batch(limit=100) if each.kind is SweepKind.BLOB]


async def test_upload_is_kept_as_it_was_opened(database: Database, upload: Upload) -> None:
    async with database.snapshot() as tx:
        found = await tx.uploads.get(TENANT, upload.id)
        assert await tx.uploads.parts(TENANT, upload.id) == []
    assert found == upload
    assert (found.document, found.chunking) == (DOCUMENT, CharacterChunking(900, 90))
    assert (found.offset, found.answer, found.sha256) == (0, None, "c" * 64)


async def test_parts_follow_each_other(
    database: Database, upload: Upload, append: Callable[[UploadPart], Awaitable[Upload]]
) -> None:
    states = [await append(part) for part in PARTS]
    assert [state.offset for state in states] == [4, 10, 11]
    assert states[2].update_time > states[0].update_time > upload.update_time
    async with database.snapshot() as tx:
        assert await tx.uploads.parts(TENANT, upload.id) == PARTS
        assert await tx.uploads.get(TENANT, upload.id) == states[2]
        assert await tx.blobs.is_referenced(TENANT, "b" * 64)
        assert not await tx.blobs.is_referenced(TENANT, "c" * 64)


@pytest.mark.parametrize("offset", [0, 3, 5])
async def test_part_that_does_not_follow_is_refused_with_the_right_offset(
    database: Database, upload: Upload, append: Callable[[UploadPart], Awaitable[Upload]], offset: int
) -> None:
    await append(PARTS[0])
    with pytest.raises(FailedPrecondition) as caught:
        await append(replace(PARTS[1], offset=offset))
    assert caught.value.reason == "UPLOAD_OFFSET_MISMATCH"
    assert caught.value.metadata == {"resource": "upload", "id": upload.id, "offset": "4"}
    async with database.snapshot() as tx:
        assert await tx.uploads.parts(TENANT, upload.id) == PARTS[:1]


async def test_upload_that_ends_keeps_its_answer_and_gives_up_its_parts(
    database: Database, upload: Upload, append: Callable[[UploadPart], Awaitable[Upload]]
) -> None:
    for part in PARTS:
        await append(part)
    async with database.transaction() as tx:
        assert await tx.uploads.count_open(TENANT) == 1
        await tx.uploads.finish(TENANT, upload.id, b"answer")
    async with database.snapshot() as tx:
        found = await tx.uploads.get(TENANT, upload.id)
        assert (found.answer, found.offset) == (b"answer", 11)
        assert await tx.uploads.parts(TENANT, upload.id) == []
        assert await tx.uploads.count_open(TENANT) == 0
        assert not await tx.blobs.is_referenced(TENANT, "a" * 64)
    assert await due_blobs(database) == ["a" * 64, "b" * 64]


async def test_removed_upload_is_gone_and_its_parts_are_due(
    database: Database, upload: Upload, append: Callable[[UploadPart], Awaitable[Upload]]
) -> None:
    await append(PARTS[0])
    async with database.transaction() as tx:
        await tx.uploads.remove(TENANT, upload.id)
        await tx.uploads.remove(TENANT, upload.id)
        with pytest.raises(NotFound) as caught:
            await tx.uploads.get(TENANT, upload.id)
    assert caught.value.reason == "UPLOAD_NOT_FOUND"
    assert await due_blobs(database) == ["a" * 64]


async def test_uploads_expire_by_their_last_part(
    database: Database,
    collection: Collection,
    upload: Upload,
    append: Callable[[UploadPart], Awaitable[Upload]],
) -> None:
    async with database.transaction() as tx:
        idle = await tx.uploads.create(TENANT, collection.uid, DOCUMENT)
    alive = await append(PARTS[0])
    async with database.transaction() as tx:
        assert await tx.uploads.expire(alive.update_time) == 1
        assert await tx.uploads.expire(alive.update_time) == 0
        assert await tx.uploads.get(TENANT, upload.id) == alive
        with pytest.raises(NotFound):
            await tx.uploads.get(TENANT, idle.id)
        assert await tx.uploads.expire(alive.update_time + timedelta(seconds=1)) == 1
    assert await due_blobs(database) == ["a" * 64]


async def test_uploads_outlive_their_collection(
    database: Database, upload: Upload, append: Callable[[UploadPart], Awaitable[Upload]]
) -> None:
    await append(PARTS[0])
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "papers")
    async with database.snapshot() as tx:
        assert (await tx.uploads.get(TENANT, upload.id)).offset == 4
        assert await tx.blobs.is_referenced(TENANT, "a" * 64)
