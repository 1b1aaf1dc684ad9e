"""No repository method shows, or changes, anything of another tenant."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlmodel import col

from rag_server.domain.assistant import AssistantProfile
from rag_server.domain.change import DocumentChange
from rag_server.domain.collection import NewCollection, TokenChunking
from rag_server.domain.conversation import ConversationRef, TurnLease
from rag_server.domain.crawl import CrawledPage, CrawlRequest
from rag_server.domain.document import NewDocument
from rag_server.domain.job import JobState
from rag_server.domain.lease import Lease, LeaseLost
from rag_server.domain.metadata import MetadataType
from rag_server.domain.priority import Priority
from rag_server.domain.publication import Publication
from rag_server.domain.upload import UploadPart
from rag_server.domain.webhook import Attempt as DeliveryAttempt
from rag_server.domain.webhook import Webhook, WebhookDelivery
from rag_server.errors import NotFound, Unavailable
from rag_server.metadata import Database, Transaction
from rag_server.metadata.conversation_tables import ConversationRow
from rag_server.metadata.parents import ItemOutcome
from tests import databases
from tests.unit.rag_server.metadata.conftest import (
    Clock,
    make_collection,
    make_publication,
    publishes_to,
    submits_to,
)

OWNER = "acme"
STRANGER = "globex"
SHA256 = "a" * 64
PART = UploadPart(0, 3, "d" * 64)
PAGE = CrawledPage(
    url="http://a.example/",
    document_id="page",
    etag='"1"',
    last_modified="",
    digest=SHA256,
    depth=0,
    canonical_url="http://a.example/",
    links=(),
    options_digest="",
)


@dataclass(frozen=True)
class Belongings:
    """What the owner has, and the stranger tries."""

    uid: str
    done_id: str
    queued_id: str
    failed_id: str
    crawl_id: str
    lease: Lease
    delivery: WebhookDelivery
    sweep_id: str
    upload_id: str
    publication: Publication
    turn: TurnLease
    assistant_uid: str

    @property
    def talk_id(self) -> str:
        return self.turn.conversation_id


async def fill(database: Database) -> Belongings:
    """Give the owner one of everything."""
    collection = await make_collection(database)
    submit, publish = submits_to(database, collection), publishes_to(database)
    done = await submit(metadata={"year": 2020})
    await publish(done)
    queued = await submit("other")
    failed = await submit("third", webhook=Webhook("https://acme.example/hook", "acme"))
    async with database.transaction() as tx:
        await tx.jobs.change(OWNER, failed.id, state=JobState.FAILED)
        delivery = await tx.webhooks.of_job(OWNER, failed.id)
        assert delivery is not None
        lease = await tx.leases.acquire(OWNER, queued.id, owner="worker", ttl_s=3600.0)
        assert lease is not None
        await tx.metadata_fields.learn(OWNER, collection.uid, {"year": 2020})
        await tx.blobs.add(OWNER, SHA256, 3)
        upload = await tx.uploads.create(OWNER, collection.uid, NewDocument("papers", "doc"))
        await tx.uploads.append(OWNER, upload.id, PART)
        await tx.sweeps.add_blob(OWNER, "b" * 64)
        await tx.sweeps.add_revisions(OWNER, collection.uid, "gone", revision=1)
        await tx.idempotency.put(OWNER, "m", "r", body_hash="h", response=b"secret")
        crawl = await tx.crawls.create(
            OWNER, collection.uid, "papers", CrawlRequest((PAGE.url,)), chunking=TokenChunking()
        )
        await tx.parents.add_child(
            OWNER, crawl.id, PAGE.url, NewDocument("papers", "page"), content_sha256=SHA256, size_bytes=3
        )
        await tx.crawls.save_state(OWNER, crawl.id, b"state")
        await tx.crawls.put_page(OWNER, collection.uid, PAGE)
        sweep = (await tx.sweeps.next_batch(limit=10))[0]
        talk = ConversationRef((await tx.conversations.create(OWNER, max_count=9)).id)
        first = await tx.turns.begin(OWNER, talk, "Who?", ttl_s=1.0, max_messages=9)
        assert isinstance(first, TurnLease)
        await tx.turns.record(OWNER, first, "I.", b"how")
        assert await tx.summaries.put(OWNER, talk.id, "Who it is.", 2, expected=0)
        turn = await tx.turns.begin(OWNER, talk, "Where?", ttl_s=3600.0, max_messages=9)
        assert isinstance(turn, TurnLease)
        assistant = await tx.assistants.create(OWNER, "guide", AssistantProfile("Guide"), max_count=9)
        await tx.assistants.mark_default(OWNER, "guide", is_default=True)
    ids = done.id, queued.id, failed.id, crawl.id
    return Belongings(
        collection.uid, *ids, lease, delivery, sweep.id, upload.id, make_publication(), turn, assistant.uid
    )


@pytest.fixture
async def owned(database: Database) -> Belongings:
    return await fill(database)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=databases.KINDS)
async def untouched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Database, Belongings]]:
    """Give a database of this module's own, which each test leaves, and sees that it leaves, as it was."""
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('untouched') / 'metadata.db'}"
        else:
            url = databases.url_of(stack.enter_context(databases.migrated_database()))
        database = await Database.open(url, clock=Clock())
        stack.push_async_callback(database.close)
        yield database, await fill(database)


Attempt = Callable[[Transaction, Belongings], Awaitable[Any]]


async def _renewed(tx: Transaction, it: Belongings) -> bool:
    try:
        await tx.leases.renew(STRANGER, it.lease, ttl_s=1.0)
    except LeaseLost:
        return False
    return True


async def _kept(tx: Transaction, it: Belongings) -> bool:
    try:
        await tx.turns.renew(STRANGER, it.turn, ttl_s=1.0)
    except Unavailable:
        return False
    return True


async def _present(tx: Transaction, it: Belongings) -> bool:
    return not await tx.collections.absent(STRANGER, ["papers"])


NOT_FOUND: dict[str, Attempt] = {
    "assistants.get": lambda tx, _: tx.assistants.get(STRANGER, "guide"),
    "assistants.update": lambda tx, _: tx.assistants.update(
        STRANGER, "guide", lambda _: AssistantProfile("Theirs"), kept=1
    ),
    "assistants.restore": lambda tx, _: tx.assistants.restore(STRANGER, "guide", 1, kept=1),
    "assistants.revisions": lambda tx, _: tx.assistants.revisions(STRANGER, "guide", limit=10),
    "assistants.mark_default": lambda tx, _: tx.assistants.mark_default(STRANGER, "guide", is_default=False),
    "assistants.delete": lambda tx, _: tx.assistants.delete(STRANGER, "guide"),
    "conversations.get": lambda tx, it: tx.conversations.get(STRANGER, it.talk_id),
    "conversations.rename": lambda tx, it: tx.conversations.rename(STRANGER, it.talk_id, "theirs"),
    "conversations.retitle": lambda tx, it: tx.conversations.retitle(
        STRANGER, it.talk_id, "theirs", expected="Who?"
    ),
    "conversations.delete": lambda tx, it: tx.conversations.delete(STRANGER, it.talk_id),
    "conversations.row": lambda tx, it: tx.conversations.row(STRANGER, it.talk_id),
    "conversations.lock": lambda tx, it: tx.conversations.lock(STRANGER, it.talk_id),
    "turns.begin": lambda tx, it: tx.turns.begin(
        STRANGER, ConversationRef(it.talk_id), "theirs?", ttl_s=9.0, max_messages=9
    ),
    "summaries.get": lambda tx, it: tx.summaries.get(STRANGER, it.talk_id),
    "summaries.before": lambda tx, it: tx.summaries.before(STRANGER, it.talk_id, 99),
    "summaries.put": lambda tx, it: tx.summaries.put(STRANGER, it.talk_id, "theirs", 3, expected=2),
    "turns.record": lambda tx, it: tx.turns.record(STRANGER, it.turn, "theirs", b""),
    "collections.get": lambda tx, _: tx.collections.get(STRANGER, "papers"),
    "collections.get_by_uid": lambda tx, it: tx.collections.get_by_uid(STRANGER, it.uid),
    "collections.of_job": lambda tx, it: tx.collections.of_job(STRANGER, it.done_id),
    "collections.update": lambda tx, _: tx.collections.update(STRANGER, "papers", description="mine"),
    "collections.delete": lambda tx, _: tx.collections.delete(STRANGER, "papers"),
    "collections.lock": lambda tx, it: tx.collections.lock(STRANGER, it.uid),
    "collections.bump_revision": lambda tx, it: tx.collections.bump_revision(STRANGER, it.uid),
    "changes.since": lambda tx, it: tx.changes.since(STRANGER, it.uid, 0, limit=10),
    "metadata_fields.learn_types": lambda tx, it: tx.metadata_fields.learn_types(
        STRANGER, it.uid, {"year": MetadataType.STRING}, path="records.fields"
    ),
    "metadata_fields.learn": lambda tx, it: tx.metadata_fields.learn(STRANGER, it.uid, {"year": "x"}),
    "documents.get": lambda tx, it: tx.documents.get(STRANGER, it.uid, "doc"),
    "documents.delete": lambda tx, it: tx.documents.delete(STRANGER, it.uid, "doc"),
    "documents.publish": lambda tx, it: tx.documents.publish(STRANGER, it.queued_id, it.publication),
    "documents.keep": lambda tx, it: tx.documents.keep(STRANGER, it.queued_id, 1),
    "history.get": lambda tx, it: tx.history.get(STRANGER, it.uid, "doc", 1),
    "jobs.create": lambda tx, it: tx.jobs.create(
        STRANGER, it.uid, NewDocument("papers", "doc"), chunking=TokenChunking()
    ),
    "jobs.get": lambda tx, it: tx.jobs.get(STRANGER, it.done_id),
    "jobs.collection_uid": lambda tx, it: tx.jobs.collection_uid(STRANGER, it.done_id),
    "jobs.events_after": lambda tx, it: tx.jobs.events_after(STRANGER, it.done_id, 0),
    "jobs.change": lambda tx, it: tx.jobs.change(STRANGER, it.queued_id, state=JobState.FAILED),
    "jobs.request_cancel": lambda tx, it: tx.jobs.request_cancel(STRANGER, it.queued_id),
    "jobs.unfinished_row": lambda tx, it: tx.jobs.unfinished_row(STRANGER, it.queued_id),
    "jobs.row": lambda tx, it: tx.jobs.row(STRANGER, it.queued_id),
    "leases.acquire": lambda tx, it: tx.leases.acquire(STRANGER, it.queued_id, owner="o", ttl_s=9.0),
    "uploads.get": lambda tx, it: tx.uploads.get(STRANGER, it.upload_id),
    "uploads.lock": lambda tx, it: tx.uploads.lock(STRANGER, it.upload_id),
    "uploads.append": lambda tx, it: tx.uploads.append(STRANGER, it.upload_id, UploadPart(3, 1, SHA256)),
    "uploads.finish": lambda tx, it: tx.uploads.finish(STRANGER, it.upload_id, b"theirs"),
    "parents.add_child": lambda tx, it: tx.parents.add_child(
        STRANGER, it.queued_id, "x", NewDocument("papers", "x"), content_sha256=SHA256, size_bytes=3
    ),
    "parents.record_item": lambda tx, it: tx.parents.record_item(
        STRANGER, it.queued_id, "x", ItemOutcome.SKIPPED
    ),
    "parents.all_found": lambda tx, it: tx.parents.all_found(STRANGER, it.queued_id),
    "parents.reopen": lambda tx, it: tx.parents.reopen(STRANGER, it.failed_id, it.queued_id),
    "crawls.create": lambda tx, it: tx.crawls.create(
        STRANGER, it.uid, "papers", CrawlRequest(("http://a.example/",)), chunking=TokenChunking()
    ),
    "crawls.turn": lambda tx, it: tx.crawls.turn(STRANGER, it.uid),
    "crawls.save_state": lambda tx, it: tx.crawls.save_state(STRANGER, it.crawl_id, b"theirs"),
    "crawls.put_page": lambda tx, it: tx.crawls.put_page(STRANGER, it.uid, PAGE),
    "revival.revive": lambda tx, it: tx.revival.revive(STRANGER, it.failed_id),
}
EMPTY: dict[str, Attempt] = {
    "assistants.list": lambda tx, _: tx.assistants.list(STRANGER, limit=10),
    "assistants.count": lambda tx, _: tx.assistants.count(STRANGER),
    "assistants.heads": lambda tx, _: tx.assistants.heads(STRANGER),
    "assistants.by_uids": lambda tx, it: tx.assistants.by_uids(STRANGER, [it.assistant_uid]),
    "collections.absent": _present,
    "conversations.list": lambda tx, _: tx.conversations.list(STRANGER, limit=10),
    "conversations.count": lambda tx, _: tx.conversations.count(STRANGER),
    "messages.list": lambda tx, it: tx.messages.list(STRANGER, it.talk_id, limit=10, max_bytes=1000),
    "messages.has_after": lambda tx, it: tx.messages.has_after(STRANGER, it.talk_id, 0),
    "messages.oldest": lambda tx, it: tx.messages.oldest(STRANGER, it.talk_id, after=0, limit=10),
    "messages.recent": lambda tx, it: tx.messages.recent(STRANGER, it.talk_id, before=99, limit=10),
    "turns.renew": _kept,
    "turns.release": lambda tx, it: tx.turns.release(STRANGER, it.turn, is_withdrawn=True),
    "collections.list": lambda tx, _: tx.collections.list(STRANGER, limit=10),
    "documents.list": lambda tx, it: tx.documents.list(STRANGER, it.uid, limit=10),
    "documents.scan": lambda tx, it: tx.documents.scan(STRANGER, it.uid, limit=10),
    "documents.heads_of": lambda tx, it: tx.documents.heads_of(STRANGER, it.uid, ["doc"]),
    "documents.revisions_of": lambda tx, it: tx.documents.revisions_of(STRANGER, it.uid, ["doc"]),
    "history.newest": lambda tx, it: tx.history.newest(STRANGER, it.uid, "doc"),
    "history.list": lambda tx, it: tx.history.list(STRANGER, it.uid, "doc", limit=10),
    "history.blobs": lambda tx, it: tx.history.blobs(STRANGER, it.uid, limit=10),
    "history.distrust": lambda tx, it: tx.history.distrust(STRANGER, it.uid, "doc", 1),
    "history.forget": lambda tx, it: tx.history.forget(STRANGER, it.uid, "doc"),
    "jobs.documents_being_made": lambda tx, it: tx.jobs.documents_being_made(STRANGER, it.uid, ["other"]),
    "jobs.count_unfinished": lambda tx, _: tx.jobs.count_unfinished(STRANGER),
    "jobs.list": lambda tx, it: tx.jobs.list(STRANGER, collection_uid=it.uid, limit=10),
    "jobs.cancel_all_of_document": lambda tx, it: tx.jobs.cancel_all_of_document(STRANGER, it.uid, "other"),
    "jobs.cancel_all_of_collection": lambda tx, it: tx.jobs.cancel_all_of_collection(STRANGER, it.uid),
    "jobs.cancel_children": lambda tx, it: tx.jobs.cancel_children(STRANGER, it.crawl_id),
    "parents.taken_items": lambda tx, it: tx.parents.taken_items(STRANGER, it.crawl_id),
    "parents.forget_items": lambda tx, it: tx.parents.forget_items(STRANGER, it.crawl_id),
    "crawls.state": lambda tx, it: tx.crawls.state(STRANGER, it.crawl_id),
    "crawls.pages": lambda tx, it: tx.crawls.pages(STRANGER, it.uid),
    "crawls.forget_page": lambda tx, it: tx.crawls.forget_page(STRANGER, it.uid, PAGE.url),
    "crawls.is_page_of": lambda tx, it: tx.crawls.is_page_of(STRANGER, it.uid, PAGE.document_id),
    "leases.find": lambda tx, it: tx.leases.find(STRANGER, it.queued_id, it.lease.token),
    "leases.remaining_s": lambda tx, it: tx.leases.remaining_s(STRANGER, it.queued_id),
    "leases.renew": _renewed,
    "leases.release": lambda tx, it: tx.leases.release(STRANGER, it.lease),
    "webhooks.of_job": lambda tx, it: tx.webhooks.of_job(STRANGER, it.failed_id),
    "webhooks.record": lambda tx, it: tx.webhooks.record(
        STRANGER, it.delivery, DeliveryAttempt(http_status=200), retry_s=None
    ),
    "outbox.add": lambda tx, it: tx.outbox.add(STRANGER, it.done_id, Priority.BULK),
    "idempotency.get": lambda tx, _: tx.idempotency.get(STRANGER, "m", "r"),
    "idempotency.replay": lambda tx, _: tx.idempotency.replay(STRANGER, "m", "r", "h"),
    "blobs.size": lambda tx, _: tx.blobs.size(STRANGER, SHA256),
    "blobs.is_referenced": lambda tx, _: tx.blobs.is_referenced(STRANGER, SHA256),
    "blobs.remove": lambda tx, _: tx.blobs.remove(STRANGER, SHA256),
    "uploads.parts": lambda tx, it: tx.uploads.parts(STRANGER, it.upload_id),
    "uploads.count_open": lambda tx, _: tx.uploads.count_open(STRANGER),
    "uploads.remove": lambda tx, it: tx.uploads.remove(STRANGER, it.upload_id),
    "sweeps.done": lambda tx, it: tx.sweeps.done(STRANGER, it.sweep_id),
    "sweeps.is_due": lambda tx, it: tx.sweeps.is_due(STRANGER, it.uid, "gone", 1),
    "sweeps.is_blob_due": lambda tx, _: tx.sweeps.is_blob_due(STRANGER, "b" * 64),
}
# these only ever add what is the stranger's own; see the tests at the end
OWN = {
    "assistants.create",
    "conversations.create",
    "collections.create",
    "changes.add",
    "history.add",
    "metadata_fields.add",
    "metadata_fields.check",
    "metadata_fields.check_types",
    "metadata_fields.declare",
    "metadata_fields.of_collections",
    "idempotency.put",
    "uploads.create",
    "blobs.add",
    "blobs.lock",
    "sweeps.add_blob",
    "sweeps.add_collection",
    "sweeps.add_revisions",
}
# the maintenance of the whole server, and what works on a row that was found for its tenant
WITHOUT_TENANT = {
    "turns.release_all",
    "jobs.unfinished",
    "collections.changes_of",
    "jobs.record_change",
    "leases.release_all",
    "outbox.waiting",
    "outbox.is_empty",
    "outbox.next_batch",
    "outbox.remove",
    "outbox.add_unfinished",
    "outbox.add_stranded",
    "revival.forget",
    "touched.changes",
    "webhooks.add",
    "webhooks.claim",
    "sweeps.next_batch",
    "uploads.expire",
    "idempotency.expire",
}


async def _is_held(tx: Transaction, turn: TurnLease) -> bool:
    statement = select(ConversationRow.turn_token).where(col(ConversationRow.id) == turn.conversation_id)
    return bool((await tx.conversations._scope.session.scalars(statement)).one() == turn.token)


async def _everything(database: Database, owned: Belongings) -> list[Any]:
    async with database.snapshot() as tx:
        return [
            await tx.collections.list(OWNER, limit=10),
            await tx.metadata_fields.of_collections(OWNER, [owned.uid]),
            await tx.documents.list(OWNER, owned.uid, limit=10),
            await tx.history.list(OWNER, owned.uid, "doc", limit=10),
            await tx.changes.since(OWNER, owned.uid, 0, limit=10),
            await tx.jobs.list(OWNER, limit=10),
            await tx.jobs.events_after(OWNER, owned.done_id, 0),
            await tx.jobs.events_after(OWNER, owned.queued_id, 0),
            await tx.parents.taken_items(OWNER, owned.crawl_id),
            await tx.crawls.state(OWNER, owned.crawl_id),
            await tx.crawls.pages(OWNER, owned.uid),
            await tx.leases.remaining_s(OWNER, owned.queued_id) > 0,
            await tx.webhooks.of_job(OWNER, owned.failed_id),
            await tx.outbox.waiting(up_to=10),
            await tx.idempotency.get(OWNER, "m", "r"),
            await tx.blobs.size(OWNER, SHA256),
            await tx.uploads.get(OWNER, owned.upload_id),
            await tx.uploads.parts(OWNER, owned.upload_id),
            await tx.conversations.list(OWNER, limit=10),
            await tx.assistants.list(OWNER, limit=10),
            await tx.assistants.revisions(OWNER, "guide", limit=10),
            await tx.messages.list(OWNER, owned.talk_id, limit=10, max_bytes=1000),
            await tx.summaries.get(OWNER, owned.talk_id),
            await _is_held(tx, owned.turn),
            [sweep for sweep in await tx.sweeps.next_batch(limit=10) if sweep.tenant_id == OWNER],
        ]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("method", NOT_FOUND)
async def test_foreign_id_is_not_found_and_untouched(
    untouched: tuple[Database, Belongings], method: str
) -> None:
    database, owned = untouched
    before = await _everything(database, owned)
    async with database.transaction() as tx:
        with pytest.raises(NotFound) as raised:
            await NOT_FOUND[method](tx, owned)
    # word for word what an id gets that nobody has
    kind = raised.value.metadata["resource"]
    assert str(raised.value) == str(NotFound.for_resource(kind, raised.value.metadata["id"]))
    assert await _everything(database, owned) == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("method", EMPTY)
async def test_foreign_rows_are_neither_listed_nor_touched(
    untouched: tuple[Database, Belongings], method: str
) -> None:
    database, owned = untouched
    before = await _everything(database, owned)
    async with database.transaction() as tx:
        assert not await EMPTY[method](tx, owned)
    assert await _everything(database, owned) == before


def test_every_repository_method_is_tried() -> None:
    methods: dict[str, bool] = {}
    for name, repository in vars(Transaction(None, lambda: datetime.now(UTC))).items():  # type: ignore[arg-type]  # opened by nobody
        for method, function in inspect.getmembers(repository, inspect.iscoroutinefunction):
            if not method.startswith("_"):
                methods[f"{name}.{method}"] = "tenant_id" in inspect.signature(function).parameters
    assert {name for name, takes_tenant in methods.items() if takes_tenant} == {*NOT_FOUND, *EMPTY, *OWN}
    assert {name for name, takes_tenant in methods.items() if not takes_tenant} == WITHOUT_TENANT


async def test_same_names_in_two_tenants_are_two_things(database: Database, owned: Belongings) -> None:
    before = await _everything(database, owned)
    async with database.transaction() as tx:
        theirs = await tx.collections.create(
            STRANGER, NewCollection("papers"), embedding_model="m", dimension=4
        )
        await tx.metadata_fields.learn(STRANGER, theirs.uid, {"year": "a string here"})
        job = await tx.jobs.create(
            STRANGER, theirs.uid, NewDocument("papers", "doc"), chunking=TokenChunking()
        )
        assert await tx.leases.acquire(STRANGER, job.id, owner="theirs", ttl_s=1.0) is not None
        await tx.documents.publish(STRANGER, job.id, owned.publication)
        await tx.documents.delete(STRANGER, theirs.uid, "doc")
        await tx.metadata_fields.add(STRANGER, theirs.uid, {"month": MetadataType.STRING})
        await tx.idempotency.put(STRANGER, "m", "r", body_hash="other", response=b"theirs")
        await tx.assistants.create(STRANGER, "guide", AssistantProfile(), max_count=1)
        await tx.assistants.mark_default(STRANGER, "guide", is_default=True)
        await tx.blobs.add(STRANGER, SHA256, 99)
        await tx.sweeps.add_collection(STRANGER, owned.uid)
        await tx.sweeps.add_revisions(STRANGER, owned.uid, "doc", revision=1)
        fields = await tx.metadata_fields.of_collections(STRANGER, [owned.uid])
    assert job.document_revision == 1
    assert fields == {owned.uid: {}}
    assert await _everything(database, owned) == before
    async with database.transaction() as tx:
        await tx.collections.delete(STRANGER, "papers")
    assert await _everything(database, owned) == before


async def test_declare_on_a_foreign_collection_is_refused_by_the_database(
    database: Database, owned: Belongings
) -> None:
    from sqlalchemy.exc import IntegrityError

    async def declare() -> None:
        async with database.transaction() as tx:
            await tx.metadata_fields.declare(STRANGER, owned.uid, {"theirs": MetadataType.STRING})

    before = await _everything(database, owned)
    with pytest.raises(IntegrityError):
        await declare()
    assert await _everything(database, owned) == before


async def test_change_of_a_foreign_collection_is_refused_by_the_database(
    database: Database, owned: Belongings
) -> None:
    from sqlalchemy.exc import IntegrityError

    async def add() -> None:
        async with database.transaction() as tx:
            await tx.changes.add(STRANGER, owned.uid, DocumentChange(2, "theirs", 1, 3))

    before = await _everything(database, owned)
    with pytest.raises(IntegrityError):
        await add()
    assert await _everything(database, owned) == before
