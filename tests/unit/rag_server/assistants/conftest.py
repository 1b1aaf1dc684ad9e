"""Assistants, and an embedder whose vectors are counted words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from rag_server.backends.protocols import Embeddings
from rag_server.domain.assistant import Assistant, AssistantHead, AssistantProfile
from rag_server.domain.priority import Priority
from rag_server.testing.fakes import HashEmbedder

TENANT = "acme"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Embedder(HashEmbedder):
    """Texts that share words have similar vectors; what it was asked for is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        self.texts += texts
        return await super().embed(texts, priority=priority)


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


def assistant(name: str, *, revision: int = 1, tenant: str = TENANT, **profile: object) -> Assistant:
    return Assistant(
        tenant,
        name,
        f"uid-{name}",
        revision,
        AssistantProfile(**profile),
        False,
        NOW,
        NOW,  # type: ignore[arg-type]
    )


def head(of: Assistant) -> AssistantHead:
    return AssistantHead(of.id, of.uid, of.revision, of.is_default)
