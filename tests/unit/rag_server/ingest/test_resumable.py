"""Parts of uploads, over each kind of blob store."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rag_server.backends.fsspec_blobs import FsspecBlobStore
from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.backends.protocols import BlobStore
from rag_server.domain.collection import Collection
from rag_server.domain.document import NewDocument
from rag_server.domain.upload import Upload
from rag_server.errors import FailedPrecondition, Internal, NotFound, ResourceExhausted
from rag_server.ingest.resumable import ResumableUploads
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.database import Database
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from tests.unit.rag_server.ingest.conftest import TENANT

PART = 10


class Broken(Exception):
    """What a client does that leaves."""


@pytest.fixture(params=["local", "fsspec"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    if request.param == "local":
        local = LocalBlobStore(tmp_path / "blobs")
        await local.open()
        yield local
        return
    remote = FsspecBlobStore(MemoryFileSystem(), f"/uploads-{uuid.uuid4().hex}", tmp_path / "spool")
    await remote.open()
    yield remote
    await remote.close()


@pytest.fixture
def uploads(database: Database, store: BlobStore) -> ResumableUploads:
    return ResumableUploads(
        database, store, Submitter(100), part_bytes=PART, max_document_bytes=100, max_open=2
    )


@pytest.fixture
async def upload(database: Database, uploads: ResumableUploads, books: Collection) -> Upload:
    async with database.transaction() as tx:
        return await uploads.open(tx, TENANT, NewDocument("books", "doc"), chunking=None, sha256="")


async def pieces(*parts: bytes, broken: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if broken:
        raise Broken


async def whole(store: BlobStore, sha256: str) -> bytes:
    return await store.read(TENANT, sha256)


async def test_parts_are_joined_to_what_was_sent(
    uploads: ResumableUploads, upload: Upload, store: BlobStore
) -> None:
    received = await uploads.receive(TENANT, upload.id, 0, pieces(b"a" * 4, b"b" * 7, b"c" * 25, b"d"))
    assert received.offset == 37
    joined = await uploads.join(received)
    await joined.keep()
    assert await whole(store, joined.sha256) == b"a" * 4 + b"b" * 7 + b"c" * 25 + b"d"


async def test_broken_stream_keeps_its_full_parts(
    database: Database, uploads: ResumableUploads, upload: Upload, store: BlobStore
) -> None:
    with pytest.raises(Broken):
        await uploads.receive(TENANT, upload.id, 0, pieces(b"a" * 6, b"b" * 6, b"c" * 9, broken=True))
    async with database.snapshot() as tx:
        found = await tx.uploads.get(TENANT, upload.id)
        parts = await tx.uploads.parts(TENANT, upload.id)
    assert found.offset == 12
    assert [(part.offset, part.size_bytes) for part in parts] == [(0, 12)]
    assert [sha256 async for _, sha256 in store.list_all()] == [parts[0].sha256]
    received = await uploads.receive(TENANT, upload.id, 12, pieces(b"c" * 9))
    joined = await uploads.join(received)
    await joined.keep()
    assert await whole(store, joined.sha256) == b"a" * 6 + b"b" * 6 + b"c" * 9


async def test_parts_of_an_open_upload_are_spared_by_the_sweeper(
    database: Database, uploads: ResumableUploads, upload: Upload, store: BlobStore
) -> None:
    await uploads.receive(TENANT, upload.id, 0, pieces(b"a" * 12, b"b" * 12))
    sweeper = Sweeper(database, MemoryChunkStore(), store)
    assert await sweeper.remove_unreferenced_blobs() == 0
    async with database.transaction() as tx:
        await tx.uploads.remove(TENANT, upload.id)
    await sweeper.sweep()
    assert [each async for each in store.list_all()] == []


async def test_wrong_offset_and_unknown_upload_are_refused_before_anything_is_read(
    uploads: ResumableUploads, upload: Upload
) -> None:
    with pytest.raises(FailedPrecondition) as mismatch:
        await uploads.receive(TENANT, upload.id, 5, pieces(broken=True))
    assert mismatch.value.reason == "UPLOAD_OFFSET_MISMATCH"
    for tenant_id, upload_id in ((TENANT, "none"), ("globex", upload.id)):
        with pytest.raises(NotFound) as missing:
            await uploads.receive(tenant_id, upload_id, 0, pieces(broken=True))
        assert missing.value.reason == "UPLOAD_NOT_FOUND"
        assert missing.value.metadata == {"resource": "upload", "id": upload_id}


async def test_document_over_the_limit_is_refused_while_it_comes_in(
    uploads: ResumableUploads, upload: Upload
) -> None:
    received = await uploads.receive(TENANT, upload.id, 0, pieces(b"a" * 60))
    with pytest.raises(ResourceExhausted) as caught:
        await uploads.receive(TENANT, upload.id, received.offset, pieces(b"b" * 40, b"c", broken=True))
    assert (caught.value.reason, caught.value.metadata) == ("DOCUMENT_TOO_LARGE", {"limit_bytes": "100"})


async def test_uploads_of_a_tenant_are_bounded(
    database: Database, uploads: ResumableUploads, upload: Upload
) -> None:
    async with database.transaction() as tx:
        await uploads.open(tx, TENANT, NewDocument("books", "b"), chunking=None, sha256="")
        with pytest.raises(ResourceExhausted) as caught:
            await uploads.open(tx, TENANT, NewDocument("books", "c"), chunking=None, sha256="")
    assert (caught.value.reason, caught.value.metadata) == ("TOO_MANY_UPLOADS", {"limit": "2"})


async def test_part_that_was_damaged_in_the_store_is_noticed(
    uploads: ResumableUploads, upload: Upload, store: BlobStore
) -> None:
    received = await uploads.receive(TENANT, upload.id, 0, pieces(b"a" * 12))
    (address,) = [sha256 async for _, sha256 in store.list_all()]
    if isinstance(store, LocalBlobStore):
        store._address(TENANT, address).write_bytes(b"other bytes!")
    else:
        assert isinstance(store, FsspecBlobStore)
        store._fs.pipe_file(store._address(TENANT, address), b"other bytes!")
    with pytest.raises(Internal) as caught:
        await uploads.join(received)
    assert (caught.value.reason, caught.value.metadata) == ("BLOB_DAMAGED", {"sha256": address})
