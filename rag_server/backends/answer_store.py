"""The role of what keeps answers, encoded, for the same question again."""

from __future__ import annotations

from typing import Protocol


class AnswerStore(Protocol):
    """Keeps values by tenant and key, for a while. It may forget any of them at any time.

    A tenant's values are out of reach of all others, whatever the keys are.
    """

    async def get(self, tenant_id: str, key: str) -> bytes | None:
        """Return a value; None: it is not kept, or not any longer. Raises `RagError` when it cannot tell."""
        ...

    async def put(self, tenant_id: str, key: str, value: bytes) -> None:
        """Keep a value, in place of what the key had. Raises `RagError` when it cannot."""
        ...
