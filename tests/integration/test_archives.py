"""ZIP archives over gRPC: each file a document of its own, each bad file an error of its own."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as pb
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINK = 0o120777 << 16


def zipped(*files: tuple[str | zipfile.ZipInfo, bytes | str]) -> bytes:
    """Return an archive of files, in order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def linked(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = LINK
    return info


async def handed_in(client: RagClient, collection: str, data: bytes, **fields: Any) -> pb.Job:
    """Hand in an archive and return its job at its end."""
    job = await client.submit(collection, data=data, **{"document_id": "box.zip", **fields})
    return await client.end_of(job.id)


async def documents(client: RagClient, collection: str) -> set[str]:
    response = await client.documents.ListDocuments(
        document_pb.ListDocumentsRequest(collection_id=collection, page_size=1000)
    )
    return {each.id for each in response.documents}


def reasons(job: pb.Job) -> dict[str, str]:
    return {each.item: each.reason for each in job.item_errors}


async def test_archive_becomes_a_document_of_each_file(client: RagClient, collection: str) -> None:
    data = zipped(
        ("guide/herons.md", "# Herons\n\nHerons stand in shallow water."),
        ("guide/otters.html", "<html><body><p>Otters swim in the river.</p></body></html>"),
        ("__MACOSX/guide/._herons.md", b"\0\5\x16\7"),
    )
    job = await handed_in(client, collection, data, file_name="box.zip")
    assert (job.state, job.kind) == (pb.JOB_STATE_SUCCEEDED, pb.JOB_KIND_ARCHIVE)
    progress = job.progress
    assert (progress.found_item_count, progress.done_item_count) == (3, 2)
    assert (progress.skipped_item_count, progress.failed_item_count) == (1, 0)
    assert await documents(client, collection) == {"box.zip/guide/herons.md", "box.zip/guide/otters.html"}
    found = await client.search(collection, "who swims in the river")
    assert found.results[0].chunk.document_id == "box.zip/guide/otters.html"


async def test_archive_with_bad_files_succeeds_in_part_and_names_each(
    client: RagClient, collection: str
) -> None:
    data = zipped(
        ("good.txt", "A good file about storks."),
        ("../evil.txt", "out"),
        ("/etc/passwd", "out"),
        ("C:\\boot.ini", "out"),
        (linked("link.txt"), "/etc/passwd"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 64),
        ("empty.txt", ""),
        ("bomb.txt", b"\0" * (4 << 20)),
        ("broken.pdf", b"%PDF-1.7 nothing else"),
    )
    job = await handed_in(client, collection, data)
    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert reasons(job) == {
        "../evil.txt": "ARCHIVE_ENTRY_UNSAFE",
        "/etc/passwd": "ARCHIVE_ENTRY_UNSAFE",
        "C:/boot.ini": "ARCHIVE_ENTRY_UNSAFE",
        "link.txt": "ARCHIVE_ENTRY_UNSAFE",
        "picture.png": "UNSUPPORTED_MEDIA_TYPE",
        "empty.txt": "DOCUMENT_EMPTY",
        "bomb.txt": "ARCHIVE_ENTRY_BOMB",
        "broken.pdf": "DOCUMENT_CORRUPT",
    }
    assert (job.progress.done_item_count, job.progress.failed_item_count) == (1, 8)
    assert await documents(client, collection) == {"box.zip/good.txt"}


async def test_archive_declared_as_such_is_taken(client: RagClient, collection: str) -> None:
    data = zipped(("a.txt", "Storks nest on chimneys."))
    job = await handed_in(client, collection, data, media_type="application/x-zip-compressed")
    assert job.state == pb.JOB_STATE_SUCCEEDED


async def test_text_declared_as_an_archive_is_a_mismatch(client: RagClient, collection: str) -> None:
    job = await handed_in(client, collection, b"just words", media_type="application/zip")
    assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, "MEDIA_TYPE_MISMATCH")


async def test_archive_in_an_archive_is_unpacked_and_no_deeper(client: RagClient, collection: str) -> None:
    inmost = zipped(("deep.txt", "Too deep."))
    inner = zipped(("fish.txt", "Trout live in cold water."), ("inmost.zip", inmost))
    job = await handed_in(client, collection, zipped(("inner.zip", inner), ("top.txt", "On top.")))
    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert reasons(job) == {"inner.zip": "ARCHIVE_TOO_DEEP"}
    assert await documents(client, collection) == {"box.zip/top.txt", "box.zip/inner.zip/fish.txt"}
    (inner_job,) = [
        each
        for each in await jobs_below(client, job.id)
        if each.kind == pb.JOB_KIND_ARCHIVE  # the other one is the file on top
    ]
    assert inner_job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    shown = (await client.ingest.GetJob(pb.GetJobRequest(job_id=inner_job.id))).job
    assert reasons(shown) == {"inmost.zip": "ARCHIVE_TOO_DEEP"}


async def jobs_below(client: RagClient, job_id: str) -> list[pb.Job]:
    return list((await client.ingest.ListJobs(pb.ListJobsRequest(parent_job_id=job_id))).jobs)


async def test_archive_without_its_ending_in_an_archive_is_refused(
    client: RagClient, collection: str
) -> None:
    inner = zipped(("a.txt", "Hidden."))
    job = await handed_in(client, collection, zipped(("data.bin", inner), ("b.txt", "Shown.")))
    assert reasons(job) == {"data.bin": "ARCHIVE_TOO_DEEP"}


async def test_archive_of_too_many_files_fails_as_a_whole(client: RagClient, collection: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.txt", b"x")
    job = await handed_in(client, collection, buffer.getvalue())
    assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, "ARCHIVE_TOO_LARGE")
    assert job.error.metadata["limit_entries"] == "10000"
    assert await documents(client, collection) == set()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (zipped(), "DOCUMENT_EMPTY"),
        (zipped(("folder/", b"")), "DOCUMENT_EMPTY"),
        (zipped(("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 64)), "NO_ITEM_SUCCEEDED"),
        (
            zipped(("a.txt", "words")).replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x01\x00\x08\x00"),
            "DOCUMENT_ENCRYPTED",
        ),
        (zipped(("a.txt", "words" * 99))[:-30], "DOCUMENT_CORRUPT"),
    ],
    ids=["nothing", "only folders", "nothing that is read", "encrypted", "cut short"],
)
async def test_archive_that_gives_nothing_fails_with_a_reason(
    client: RagClient, collection: str, data: bytes, reason: str
) -> None:
    job = await handed_in(client, collection, data)
    assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, reason)


async def test_watch_of_an_archive_shows_its_counts_grow(client: RagClient, collection: str) -> None:
    data = zipped(*((f"{number}.txt", f"File number {number}.") for number in range(6)))
    job = await client.submit(collection, data=data, document_id="box.zip")
    seen = [
        response.job.progress
        async for response in client.ingest.WatchJob(pb.WatchJobRequest(job_id=job.id), timeout=60)
    ]
    done = [each.done_item_count for each in seen]
    assert done == sorted(done)
    assert set(done) == set(range(7))
    assert seen[-1].found_item_count == 6


async def test_jobs_below_an_archive_are_listed_and_name_it(client: RagClient, collection: str) -> None:
    job = await handed_in(client, collection, zipped(("a.txt", "One."), ("b.txt", "Two.")))
    below = await jobs_below(client, job.id)
    assert {each.document_id for each in below} == {"box.zip/a.txt", "box.zip/b.txt"}
    assert {each.parent_job_id for each in below} == {job.id}


async def test_failed_file_of_an_archive_can_be_retried(client: RagClient, collection: str) -> None:
    job = await handed_in(client, collection, zipped(("a.txt", "One."), ("b.pdf", b"%PDF-1.7 no")))
    (failed,) = [each for each in await jobs_below(client, job.id) if each.state == pb.JOB_STATE_FAILED]
    again = await client.ingest.RetryJob(pb.RetryJobRequest(job_id=failed.id))
    assert (await client.end_of(again.job.id)).error.reason == "DOCUMENT_CORRUPT"
    after = (await client.ingest.GetJob(pb.GetJobRequest(job_id=job.id))).job
    assert (after.state, after.sequence) == (pb.JOB_STATE_PARTIALLY_SUCCEEDED, job.sequence)


async def test_foreign_archive_type_is_refused_at_once(client: RagClient, collection: str) -> None:
    call = client.submit(collection, data=b"Rar!\x1a\x07\x00", media_type="application/vnd.rar")
    refused = await failure(call)
    assert refused.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert "application/zip" in refused.message
