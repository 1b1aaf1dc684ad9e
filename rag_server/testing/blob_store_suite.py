"""What every `BlobStore` must do. Subclass it and provide the fixtures `place` and `store`.

class TestLocalBlobStore(BlobStoreSuite):
    @pytest.fixture
    def place(self, tmp_path): ...
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import structlog.testing

from rag_server.backends.protocols import BlobStore
from rag_server.errors import NotFound, ResourceExhausted, Unavailable

DATA = "ñandú".encode()
DIGEST = hashlib.sha256(DATA).hexdigest()


class BlobPlace(ABC):
    """Where a store under test keeps its bytes, seen from outside."""

    @abstractmethod
    async def open(self) -> BlobStore:
        """Return a store on this place, as a server does when it starts."""

    @abstractmethod
    def files(self) -> list[str]:
        """Return everything that is there, staged bytes included."""

    @abstractmethod
    def overwrite(self, tenant_id: str, sha256: str, data: bytes) -> None:
        """Put other bytes in the place of kept ones."""


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Yield `parts`."""
    for part in parts:
        yield part


async def keep(store: BlobStore, data: bytes = DATA, tenant_id: str = "acme") -> str:
    """Store `data` and return its digest."""
    staged = await store.stage(tenant_id, pieces(data), limit_bytes=1_000_000)
    await staged.keep()
    return staged.sha256


class BlobStoreSuite:
    """The conformance suite."""

    async def test_blob_that_is_kept_can_be_read(self, store: BlobStore, place: BlobPlace) -> None:
        staged = await store.stage("acme", pieces(DATA[:3], b"", DATA[3:]), limit_bytes=100)
        assert (staged.sha256, staged.size_bytes) == (DIGEST, len(DATA))
        with pytest.raises(NotFound):
            await store.read("acme", DIGEST)
        await staged.keep()
        await staged.keep()
        await staged.discard()
        assert await store.read("acme", DIGEST) == DATA
        (only,) = place.files()
        assert only.endswith(f"acme/{DIGEST[:2]}/{DIGEST}")

    async def test_blob_belongs_to_its_tenant(self, store: BlobStore) -> None:
        await keep(store)
        with pytest.raises(NotFound) as caught:
            await store.read("other", DIGEST)
        assert caught.value.reason == "BLOB_NOT_FOUND"
        await store.delete("other", DIGEST)
        assert await store.read("acme", DIGEST) == DATA

    async def test_blob_that_is_discarded_leaves_nothing(self, store: BlobStore, place: BlobPlace) -> None:
        staged = await store.stage("acme", pieces(DATA), limit_bytes=100)
        await staged.discard()
        await staged.discard()
        await staged.keep()
        assert place.files() == []

    async def test_blob_kept_twice_by_two_uploads_is_one(self, store: BlobStore, place: BlobPlace) -> None:
        both = [await store.stage("acme", pieces(DATA), limit_bytes=100) for _ in range(2)]
        await asyncio.gather(*(staged.keep() for staged in both))
        assert len(place.files()) == 1
        assert await store.read("acme", DIGEST) == DATA

    async def test_blob_of_no_bytes_has_size_zero(self, store: BlobStore) -> None:
        staged = await store.stage("acme", pieces(), limit_bytes=100)
        assert (staged.size_bytes, staged.sha256) == (0, hashlib.sha256().hexdigest())

    async def test_blob_of_exactly_the_limit_is_taken(self, store: BlobStore) -> None:
        assert (await store.stage("acme", pieces(DATA), limit_bytes=len(DATA))).size_bytes == len(DATA)

    async def test_blob_over_the_limit_is_refused_while_it_comes_in(
        self, store: BlobStore, place: BlobPlace
    ) -> None:
        asked = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal asked
            while True:
                asked += 1
                yield b"x" * 10

        with pytest.raises(ResourceExhausted) as caught:
            await store.stage("acme", endless(), limit_bytes=25)
        assert caught.value.reason == "DOCUMENT_TOO_LARGE"
        assert caught.value.metadata == {"limit_bytes": "25"}
        assert not caught.value.is_retryable
        assert asked == 3  # noqa: PLR2004
        assert place.files() == []

    async def test_blob_whose_stream_breaks_leaves_nothing(self, store: BlobStore, place: BlobPlace) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield DATA
            raise KeyError

        with pytest.raises(KeyError):
            await store.stage("acme", broken(), limit_bytes=100)
        assert place.files() == []

    async def test_blob_whose_upload_is_cancelled_leaves_nothing(
        self, store: BlobStore, place: BlobPlace
    ) -> None:
        waiting = asyncio.Event()

        async def hanging() -> AsyncIterator[bytes]:
            yield DATA
            waiting.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(store.stage("acme", hanging(), limit_bytes=100))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert place.files() == []

    async def test_start_clears_what_a_crash_left_and_keeps_what_was_kept(
        self, store: BlobStore, place: BlobPlace
    ) -> None:
        await keep(store)
        await store.stage("acme", pieces(b"half"), limit_bytes=100)
        assert len(place.files()) == 2  # noqa: PLR2004
        again = await place.open()
        assert len(place.files()) == 1
        assert await again.read("acme", DIGEST) == DATA

    async def test_blob_is_streamed_in_pieces_even_when_it_is_deleted_meanwhile(
        self, store: BlobStore
    ) -> None:
        data = os.urandom(3 * 1024 * 1024 + 7)
        staged = await store.stage("acme", pieces(data), limit_bytes=len(data))
        await staged.keep()
        async with aclosing(store.stream("acme", staged.sha256)) as stream:
            received = [await anext(stream)]
            await store.delete("acme", staged.sha256)
            received += [piece async for piece in stream]
        assert b"".join(received) == data
        assert max(map(len, received)) <= 1024 * 1024

    async def test_blob_stream_left_early_leaves_nothing_behind(
        self, store: BlobStore, place: BlobPlace
    ) -> None:
        digest = await keep(store, bytes(900_000))
        before = place.files()
        async with aclosing(store.stream("acme", digest)) as stream:
            await anext(stream)
        assert place.files() == before
        async with aclosing(store.stream("acme", digest)) as stream:
            assert sum([len(piece) async for piece in stream]) == 900_000  # noqa: PLR2004

    async def test_stream_of_bytes_that_are_not_there_is_not_found(self, store: BlobStore) -> None:
        await keep(store)
        with pytest.raises(NotFound) as caught:
            await anext(store.stream("other", DIGEST))
        assert caught.value.reason == "BLOB_NOT_FOUND"

    async def test_size_is_that_of_what_the_store_holds(self, store: BlobStore, place: BlobPlace) -> None:
        assert await store.size("acme", DIGEST) is None
        await keep(store)
        assert await store.size("acme", DIGEST) == len(DATA)
        assert await store.size("other", DIGEST) is None
        place.overwrite("acme", DIGEST, DATA[:2])
        assert await store.size("acme", DIGEST) == 2  # noqa: PLR2004
        await store.delete("acme", DIGEST)
        assert await store.size("acme", DIGEST) is None

    async def test_delete_removes_and_may_be_repeated(self, store: BlobStore, place: BlobPlace) -> None:
        await keep(store)
        await store.delete("acme", DIGEST)
        await store.delete("acme", DIGEST)
        with pytest.raises(NotFound):
            await store.read("acme", DIGEST)
        assert place.files() == []

    async def test_list_yields_what_is_kept_of_all_tenants(self, store: BlobStore) -> None:
        assert [each async for each in store.list_all()] == []
        kept = [
            (tenant, await keep(store, data, tenant)) for tenant in ("acme", "b") for data in (b"1", b"2")
        ]
        await store.stage("acme", pieces(b"staged"), limit_bytes=100)
        assert sorted([each async for each in store.list_all()]) == sorted(kept)

    @pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA[::-1]])
    async def test_blob_that_is_damaged_is_not_handed_out(
        self, store: BlobStore, place: BlobPlace, damaged: bytes
    ) -> None:
        await keep(store)
        place.overwrite("acme", DIGEST, damaged)
        with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable) as caught:
            await store.read("acme", DIGEST)
        assert caught.value.reason == "BLOB_STORE_UNAVAILABLE"
        assert [entry["sha256"] for entry in logs] == [DIGEST]

    @pytest.mark.parametrize("damaged", [b"", DATA[:-1]])
    async def test_blob_that_was_cut_off_is_mended_by_the_next_upload(
        self, store: BlobStore, place: BlobPlace, damaged: bytes
    ) -> None:
        await keep(store)
        place.overwrite("acme", DIGEST, damaged)
        await keep(store)
        assert await store.read("acme", DIGEST) == DATA
