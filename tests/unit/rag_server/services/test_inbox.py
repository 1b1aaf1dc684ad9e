from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from rag.v1.ingest_service_pb2 import IngestDocumentsItem, IngestDocumentsRequest, IngestDocumentsStart
from rag_server.errors import DeadlineExceeded, InvalidArgument, RagError, ResourceExhausted, Unavailable
from rag_server.services.inbox import Inbox, content_bytes_of
from tests.faults.polling import until

AHEAD = 3


class Client:
    """Sends what it is told to, and knows how much of it was read."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[IngestDocumentsRequest | None] = asyncio.Queue()
        self.read = 0

    def send(self, *requests: IngestDocumentsRequest | None) -> None:
        for request in requests:
            self._queue.put_nowait(request)

    async def __aiter__(self) -> AsyncIterator[IngestDocumentsRequest]:
        while (request := await self._queue.get()) is not None:
            self.read += 1
            yield request


def item(name: str, size: int = 1) -> IngestDocumentsRequest:
    return IngestDocumentsRequest(item=IngestDocumentsItem(item_id=name, data=b"x" * size))


@pytest.fixture
def client() -> Client:
    return Client()


Open = Callable[..., Inbox]


@pytest.fixture
async def open_inbox(client: Client) -> AsyncIterator[Open]:
    """Make an inbox that is being filled."""
    tasks = []

    def make(*, items: int = AHEAD, size: int = 1000, idle_s: float = 60.0) -> Inbox:
        inbox = Inbox(aiter(client), items_ahead=items, bytes_ahead=size, idle_s=idle_s)
        tasks.append(asyncio.create_task(inbox.fill()))
        return inbox

    yield make
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in ended if not isinstance(each, asyncio.CancelledError | None)] == []


async def taken(inbox: Inbox) -> IngestDocumentsItem:
    async with asyncio.timeout(5):
        found = await inbox.take()
    assert found is not None
    return found


async def refusal(inbox: Inbox) -> RagError:
    with pytest.raises(RagError) as caught:
        await asyncio.wait_for(inbox.take(), 5)
    return caught.value


async def test_items_come_out_in_order_and_then_nothing(client: Client, open_inbox: Open) -> None:
    client.send(item("a"), item("b"), None)
    inbox = open_inbox()
    assert [(await taken(inbox)).item_id for _ in range(2)] == ["a", "b"]
    assert await inbox.take() is None
    assert await inbox.take() is None


async def test_window_opens_by_what_was_answered(client: Client, open_inbox: Open) -> None:
    inbox = open_inbox()
    assert (inbox.window.item_count, inbox.window.content_bytes) == (3, 1000)
    client.send(item("a", 10))
    await inbox.answered(await taken(inbox))
    assert (inbox.window.item_count, inbox.window.content_bytes) == (4, 1010)


async def test_client_within_the_window_is_read_at_once(client: Client, open_inbox: Open) -> None:
    open_inbox()
    client.send(*map(item, "abc"))
    await until(lambda: client.read == AHEAD)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1, 1], [999, 1, 1, 1, 1]])
async def test_client_beyond_the_window_is_read_one_item_further(
    client: Client, open_inbox: Open, sizes: list[int]
) -> None:
    """Either by the count of items, 3, or by their bytes: from 1000 on no further item may begin."""
    inbox = open_inbox()
    client.send(*(item(f"i{number}", size) for number, size in enumerate(sizes)))
    within = AHEAD if len(sizes) == 6 else 2
    await until(lambda: client.read == within + 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.read == within + 1
    first = await taken(inbox)
    assert client.read == within + 1  # being worked on is not answered
    await inbox.answered(first)
    await until(lambda: client.read > within + 1)


async def test_one_item_larger_than_the_window_is_taken(client: Client, open_inbox: Open) -> None:
    inbox = open_inbox(size=10)
    client.send(item("large", 5000), None)
    assert len((await taken(inbox)).data) == 5000


async def test_client_that_keeps_going_beyond_the_window_is_refused_after_what_it_may(
    client: Client, open_inbox: Open
) -> None:
    inbox = open_inbox()
    client.send(*(item(f"i{number}") for number in range(100)))
    answered: list[str] = []

    async def answer_all() -> None:
        while (found := await inbox.take()) is not None:
            for _ in range(20):
                await asyncio.sleep(0)  # the client is faster than we are
            await inbox.answered(found)
            answered.append(found.item_id)

    with pytest.raises(ResourceExhausted) as caught:
        await asyncio.wait_for(answer_all(), 5)
    assert (caught.value.reason, caught.value.metadata) == ("WINDOW_EXCEEDED", {"limit": "3"})
    assert not caught.value.is_retryable
    assert answered == [f"i{number}" for number in range(client.read - 1)]
    assert len(answered) < 10


@pytest.mark.parametrize(
    "request_", [IngestDocumentsRequest(start=IngestDocumentsStart()), IngestDocumentsRequest()]
)
async def test_message_out_of_turn_is_told_after_the_items_before_it(
    client: Client, open_inbox: Open, request_: IngestDocumentsRequest
) -> None:
    client.send(item("a"), request_, item("b"))
    inbox = open_inbox()
    assert (await taken(inbox)).item_id == "a"
    refused = await refusal(inbox)
    assert isinstance(refused, InvalidArgument)
    assert (refused.reason, refused.violations[0].field) == ("INVALID_DOCUMENT_STREAM", "part")


async def test_silent_client_that_is_owed_nothing_is_ended(client: Client, open_inbox: Open) -> None:
    client.send(item("a"))
    inbox = open_inbox(idle_s=0.05)
    found = await taken(inbox)
    await asyncio.sleep(0.2)  # it waits for our answer: that is not idle
    waiting = asyncio.create_task(inbox.take())
    assert not (await asyncio.wait({waiting}, timeout=0.1))[0]
    await inbox.answered(found)
    with pytest.raises(DeadlineExceeded) as caught:
        await asyncio.wait_for(waiting, 5)
    assert (caught.value.reason, caught.value.metadata) == ("STREAM_IDLE", {"limit_s": "0.05"})


async def test_refusal_comes_at_once_whatever_waits(client: Client, open_inbox: Open) -> None:
    inbox = open_inbox()
    client.send(item("a"), item("b"))
    await until(lambda: client.read == 2)
    await inbox.refuse(Unavailable("SERVER_STOPPING", "m"))
    assert (await refusal(inbox)).reason == "SERVER_STOPPING"


async def test_item_that_comes_after_a_refusal_is_not_taken(client: Client, open_inbox: Open) -> None:
    inbox = open_inbox()
    await inbox.refuse(Unavailable("SERVER_STOPPING", "m"))
    client.send(item("a"), item("b"))
    await until(lambda: client.read == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (await refusal(inbox)).reason == "SERVER_STOPPING"


async def test_content_counts_as_it_travels() -> None:
    assert content_bytes_of(IngestDocumentsItem(text="ñ")) == 2
    assert content_bytes_of(IngestDocumentsItem(data=b"abc")) == 3
    assert content_bytes_of(IngestDocumentsItem(uri="http://example.org")) == 0
