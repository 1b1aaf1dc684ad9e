"""Tables taken row by row, over gRPC, with the real model, parsers and stores."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest

from rag.v1 import chunking_pb2, filter_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import metadata_pb2 as metadata_pb
from rag.v1 import records_pb2 as records_pb
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRING = metadata_pb.METADATA_TYPE_STRING
CATALOGUE = """sku,name,category,price,stock,added
A-1,Heron 13 laptop with a bright display,laptops,499.99,3,2026-01-10
A-2,Wader 15 laptop for heavy work,laptops,1250,0,2026-02-01
A-3,Coot 11 laptop for travelling,laptops,329,9,2026-03-01
B-1,Reed mouse without a cable,mice,19.5,12,2026-01-15
"""


def records(**fields: Any) -> records_pb.Records:
    kinds = {
        "category": metadata_pb.METADATA_TYPE_STRING,
        "price": metadata_pb.METADATA_TYPE_DOUBLE,
        "stock": metadata_pb.METADATA_TYPE_INTEGER,
        "added": metadata_pb.METADATA_TYPE_TIMESTAMP,
    }
    mapped = [records_pb.RecordField(column=name, type=kind) for name, kind in kinds.items()]
    own = {"template": "{name} ({category})", "fields": mapped, "key_column": "sku", **fields}
    return records_pb.Records(**own)


def cheap_laptops() -> filter_pb2.Filter:
    """Return `metadata.price < 500 and metadata.category = "laptops"`."""
    price = filter_pb2.ComparisonFilter(
        field="metadata.price",
        operator=filter_pb2.COMPARISON_OPERATOR_LESS,
        value=metadata_pb.MetadataValue(integer_value=500),
    )
    category = filter_pb2.ComparisonFilter(
        field="metadata.category",
        operator=filter_pb2.COMPARISON_OPERATOR_EQUAL,
        value=metadata_pb.MetadataValue(string_value="laptops"),
    )
    return filter_pb2.Filter(
        boolean=filter_pb2.BooleanFilter(
            must=[filter_pb2.Filter(comparison=price), filter_pb2.Filter(comparison=category)]
        )
    )


async def ingest(
    client: RagClient, collection: str, text: str = CATALOGUE, mapping: records_pb.Records | None = None
) -> ingest_pb.Job:
    job = await client.submit(collection, text, "goods", media_type="text/csv", records=mapping or records())
    return await client.end_of(job.id)


async def test_rows_are_found_by_their_own_price_and_category(client: RagClient, collection: str) -> None:
    job = await ingest(client, collection)
    assert job.state == ingest_pb.JOB_STATE_SUCCEEDED, job
    assert job.progress.chunk_count == 4
    response = await client.search(collection, "laptop", filter=cheap_laptops())
    assert {each.chunk.heading_path[0] for each in response.results} == {"A-1", "A-3"}
    heron = next(each.chunk for each in response.results if each.chunk.heading_path[0] == "A-1")
    assert heron.text == "Heron 13 laptop with a bright display (laptops)"
    assert heron.metadata["price"].double_value == 499.99
    assert heron.metadata["stock"].integer_value == 3
    assert heron.metadata["added"].timestamp_value.ToDatetime().month == 1


async def test_rows_are_listed_with_their_metadata(client: RagClient, collection: str) -> None:
    await ingest(client, collection)
    request = document_pb.ListChunksRequest(collection_id=collection, document_id="goods")
    chunks = (await client.documents.ListChunks(request)).chunks
    assert [chunk.heading_path[0] for chunk in chunks] == ["A-1", "A-2", "A-3", "B-1"]
    assert [chunk.metadata["stock"].integer_value for chunk in chunks] == [3, 0, 9, 12]


async def test_row_that_changed_is_embedded_alone(client: RagClient, collection: str) -> None:
    await ingest(client, collection)
    changed = CATALOGUE.replace("Coot 11", "Coot 12").replace("499.99", "549.99")
    job = await ingest(client, collection, changed)
    assert (job.progress.embedded_chunk_count, job.progress.reused_chunk_count) == (1, 3)
    response = await client.search(collection, "laptop", filter=cheap_laptops())
    assert [each.chunk.text for each in response.results] == ["Coot 12 laptop for travelling (laptops)"]


async def test_bad_rows_are_told_and_the_others_are_searchable(client: RagClient, collection: str) -> None:
    text = CATALOGUE + "B-2,Rush mouse,mice,cheap,1,2026-01-01\nA-1,Twin,mice,1,1,2026-01-01\n"
    job = await ingest(client, collection, text)
    assert job.state == ingest_pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert job.progress.failed_item_count == 2
    shown = (await client.ingest.GetJob(ingest_pb.GetJobRequest(job_id=job.id))).job
    assert list(shown.item_errors) == list(job.item_errors)
    assert [(each.item, each.reason, each.metadata["column"]) for each in job.item_errors] == [
        ("row 6", "RECORD_VALUE_INVALID", "price"),
        ("row 7", "RECORD_KEY_REPEATED", "sku"),
    ]
    (listed,) = (
        await client.ingest.ListJobs(
            ingest_pb.ListJobsRequest(
                collection_id=collection, states=[ingest_pb.JOB_STATE_PARTIALLY_SUCCEEDED]
            )
        )
    ).jobs
    assert (listed.id, listed.progress.failed_item_count, len(listed.item_errors)) == (job.id, 2, 0)
    assert len((await client.search(collection, "mouse", top_k=10)).results) == 4


async def test_table_without_a_good_row_fails(client: RagClient, collection: str) -> None:
    header = CATALOGUE.partition("\n")[0]
    job = await ingest(client, collection, f"{header}\nA-1,Heron,laptops,dear,1,2026-01-01\n")
    assert (job.state, job.error.reason) == (ingest_pb.JOB_STATE_FAILED, "RECORDS_ALL_INVALID")
    assert [each.item for each in job.item_errors] == ["row 2"]


async def test_template_with_an_unknown_column_fails_and_names_it(client: RagClient, collection: str) -> None:
    job = await ingest(client, collection, mapping=records(template="{name} {weight}"))
    assert (job.state, job.error.reason) == (ingest_pb.JOB_STATE_FAILED, "RECORD_COLUMN_UNKNOWN")
    assert job.error.metadata["missing"] == "'weight'"


async def test_restored_revision_is_taken_row_by_row_again(client: RagClient, collection: str) -> None:
    await ingest(client, collection)
    await ingest(client, collection, CATALOGUE.replace("Reed", "Rush"))
    request = document_pb.RestoreDocumentRevisionRequest(collection_id=collection, document_id="goods")
    job = await client.end_of((await client.documents.RestoreDocumentRevision(request)).job.id)
    assert job.progress.chunk_count == 4
    (mouse,) = [
        each.chunk
        for each in (await client.search(collection, "mouse", top_k=4)).results
        if each.chunk.heading_path[0] == "B-1"
    ]
    assert mouse.text.startswith("Reed mouse")
    assert mouse.metadata["price"].double_value == 19.5


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"records": records(template="{name")}, "records.template"),
        ({"records": records(), "chunking": chunking_pb2.Chunking()}, "records"),
        (
            {"records": records(fields=[records_pb.RecordField(column="unit price", type=STRING)])},
            "records.fields[0].field",
        ),
        (
            {"records": records(fields=[records_pb.RecordField(column="a", type=STRING)] * 2)},
            "records.fields[1]",
        ),
        (
            {"records": records(), "metadata": {"price": metadata_pb.MetadataValue(string_value="x")}},
            "records.fields[1].type",
        ),
    ],
)
async def test_mapping_that_cannot_work_is_refused(
    client: RagClient, collection: str, fields: dict[str, Any], path: str
) -> None:
    call = client.submit(collection, CATALOGUE, "goods", media_type="text/csv", **fields)
    refused = await failure(call)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refused.violations) == [path]


async def test_mapping_against_a_field_of_another_type_is_refused(client: RagClient, collection: str) -> None:
    await client.ingest_text(
        collection, "A heron.", metadata={"price": metadata_pb.MetadataValue(string_value="dear")}
    )
    call = client.submit(collection, CATALOGUE, "goods", media_type="text/csv", records=records())
    refused = await failure(call)
    assert (refused.reason, list(refused.violations)) == ("METADATA_TYPE_MISMATCH", ["records.fields"])


async def test_upload_takes_rows_too_and_names_fields_below_its_start(
    client: RagClient, collection: str
) -> None:
    def messages(mapping: records_pb.Records) -> list[ingest_pb.UploadDocumentRequest]:
        start = ingest_pb.UploadStart(
            collection_id=collection,
            document=ingest_pb.DocumentSpec(document_id="goods", file_name="goods.csv"),
            records=mapping,
        )
        return [
            ingest_pb.UploadDocumentRequest(start=start),
            ingest_pb.UploadDocumentRequest(data=CATALOGUE.encode()),
        ]

    uploaded = await client.ingest.UploadDocument(iter(messages(records())))
    job = await client.end_of(uploaded.job.id)
    assert (job.state, job.progress.chunk_count) == (ingest_pb.JOB_STATE_SUCCEEDED, 4)
    price = records_pb.RecordField(column="sku", field="price", type=STRING)
    refused = await failure(client.ingest.UploadDocument(iter(messages(records(fields=[price])))))
    assert (refused.reason, list(refused.violations)) == ("METADATA_TYPE_MISMATCH", ["start.records.fields"])


async def test_same_request_with_another_mapping_is_another_request(
    client: RagClient, collection: str
) -> None:
    request_id = str(uuid.uuid4())
    fields = {"media_type": "text/csv", "request_id": request_id}
    first = await client.submit(collection, CATALOGUE, "goods", records=records(), **fields)
    again = await client.submit(collection, CATALOGUE, "goods", records=records(), **fields)
    assert again.id == first.id
    other = records(key_column="")
    refused = await failure(client.submit(collection, CATALOGUE, "goods", records=other, **fields))
    assert refused.reason == "REQUEST_ID_REUSED"
