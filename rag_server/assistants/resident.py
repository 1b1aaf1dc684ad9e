"""What routing needs of assistants, made once per revision and kept in memory, within a bound."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np

from rag_server.assistants.examples import Vectors
from rag_server.assistants.keywords import KeywordIndex
from rag_server.backends.protocols import Embedder
from rag_server.domain.assistant import Assistant, AssistantHead

Load = Callable[[Sequence[str]], Awaitable[Sequence[Assistant]]]
"""Returns the assistants with these uids as they are; one that is gone is left out."""


@dataclass(frozen=True, slots=True)
class Routable:
    """An assistant that a question may get."""

    id: str
    uid: str
    revision: int
    keywords: KeywordIndex
    examples: tuple[str, ...]
    vectors: Vectors
    """Of the examples, shape `(n, d)`."""


class ResidentAssistants:
    """Keeps the assistants that were asked for last.

    Nothing has to be told of changes: callers say which revisions hold.
    """

    def __init__(self, embedder: Embedder, *, capacity: int) -> None:
        """`capacity`: the most assistants, of all tenants, that are kept."""
        self._embedder = embedder
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str], Routable] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def count(self) -> int:
        """Assistants that are kept."""
        return len(self._kept)

    async def get(self, tenant_id: str, heads: Sequence[AssistantHead], load: Load) -> list[Routable]:
        """Return what is known of the assistants, in their order; one that is gone meanwhile is left out.

        One call of a tenant at a time makes what is missing, and keeps each as it is ready: a caller that
        leaves has not worked for nothing.
        """
        found = {head.uid: self._known(tenant_id, head) for head in heads}
        if not all(found.values()):
            async with self._locks.setdefault(tenant_id, asyncio.Lock()):
                found = {head.uid: self._known(tenant_id, head) for head in heads}
                missing = [uid for uid, routable in found.items() if routable is None]
                for assistant in await load(missing) if missing else ():
                    found[assistant.uid] = await self._make(assistant)
                    self._keep(tenant_id, found[assistant.uid])
        return [routable for routable in found.values() if routable is not None]

    def _known(self, tenant_id: str, head: AssistantHead) -> Routable | None:
        key = (tenant_id, head.uid)
        routable = self._kept.get(key)
        if routable is None or routable.revision < head.revision:
            return None
        self._kept.move_to_end(key)
        return routable

    def _keep(self, tenant_id: str, routable: Routable | None) -> None:
        assert routable is not None
        self._kept[tenant_id, routable.uid] = routable
        self._kept.move_to_end((tenant_id, routable.uid))
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    async def _make(self, assistant: Assistant) -> Routable:
        profile = assistant.profile
        keywords = await asyncio.to_thread(KeywordIndex, profile.keywords, profile.language)
        vectors: Vectors = np.zeros((0, self._embedder.model.dimension), np.float32)
        if profile.examples:
            vectors = await self._embedder.embed(profile.examples)
        return Routable(assistant.id, assistant.uid, assistant.revision, keywords, profile.examples, vectors)
