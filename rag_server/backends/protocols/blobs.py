"""The role of what keeps the bytes of documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol


class StagedBlob(Protocol):
    """Bytes that have arrived whole, but are not kept yet."""

    @property
    def sha256(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    async def keep(self) -> None:
        """Put the bytes where `BlobStore.read` finds them; durable when it returns. Idempotent."""
        ...

    async def discard(self) -> None:
        """Remove what is not kept. Does nothing after `keep`."""
        ...


class BlobStore(Protocol):
    """Uploaded bytes, addressed by their content. Keys are SHA-256 hex digests, per tenant."""

    async def stage(self, tenant_id: str, data: AsyncIterator[bytes], *, limit_bytes: int) -> StagedBlob:
        """Receive a stream; what was staged and neither kept nor discarded goes with the server's next start.

        Raises `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) past `limit_bytes`.
        """
        ...

    async def read(self, tenant_id: str, sha256: str) -> bytes:
        """Return the bytes, which are those of the digest.

        Raises `NotFound`, and `Unavailable` for bytes that were damaged.
        """
        ...

    def stream(self, tenant_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces of at most 1 MiB, also when they are deleted meanwhile.

        Raises `NotFound` before the first piece. Close the generator when leaving it early.
        """
        ...

    async def size(self, tenant_id: str, sha256: str) -> int | None:
        """Return how many bytes are kept; None: there are none."""
        ...

    async def delete(self, tenant_id: str, sha256: str) -> None:
        """Remove the bytes. Idempotent."""
        ...

    def list_all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield `(tenant_id, sha256)` of all bytes that are kept."""
        ...
