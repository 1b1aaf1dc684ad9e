"""A call in progress, as the servicers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from rag_server.interceptors.call import Call, current_call
from rag_server.metadata.database import Database

METHOD = "/rag.v1.DocumentService/ListDocuments"


@contextmanager
def in_call(method: str = METHOD, tenant_id: str = "acme") -> Iterator[None]:
    """Run the block as part of a call."""
    call = Call(method, None, is_streaming=False, tenant_id=tenant_id)  # type: ignore[arg-type]  # unused here
    token = current_call.set(call)
    try:
        yield
    finally:
        current_call.reset(token)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url)
    yield database
    await database.close()
