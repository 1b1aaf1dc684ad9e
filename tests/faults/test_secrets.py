"""S10: an exception that holds a secret becomes a generic INTERNAL; its text is in no answer and no log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from rag_server.testing.server_process import ServerStarter
from tests.rag_client import RagClient, failure_of

FAILING_SERVER = Path(__file__).with_name("failing_server.py")
SECRET = "hunter2-f7c3"
QUESTION: dict[str, Any] = {"collection_ids": ["any"], "question": "why?"}
QUERY = retrieve_pb.RetrieveRequest(collection_ids=["any"], query="why?")


async def read(stream: Any) -> None:
    async for _ in stream:
        pass


CALLS: dict[str, Callable[[RagClient, Any], Awaitable[Any]]] = {
    "Retrieve": lambda client, metadata: client.retrieve.Retrieve(QUERY, metadata=metadata),
    "BatchRetrieve": lambda client, metadata: client.retrieve.BatchRetrieve(
        retrieve_pb.BatchRetrieveRequest(requests=[QUERY]), metadata=metadata
    ),
    "Embed": lambda client, metadata: client.retrieve.Embed(
        retrieve_pb.EmbedRequest(texts=["text"]), metadata=metadata
    ),
    "Generate": lambda client, metadata: client.generate.Generate(
        generate_pb.GenerateRequest(**QUESTION), metadata=metadata
    ),
    "StreamGenerate": lambda client, metadata: read(
        client.generate.StreamGenerate(generate_pb.StreamGenerateRequest(**QUESTION), metadata=metadata)
    ),
}


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_secret_in_an_exception_reaches_no_answer_and_no_log(
    start_server: ServerStarter, log_format: str, unused_tcp_port: int
) -> None:
    process = start_server(
        program=[str(FAILING_SERVER), SECRET], log_format=log_format, server__port=unused_tcp_port
    )
    answers = []
    async with RagClient(f"127.0.0.1:{unused_tcp_port}") as client:
        await asyncio.wait_for(client.channel.channel_ready(), 90)
        for name, call in CALLS.items():
            request_id = f"request-of-{name}"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(client, [("x-request-id", request_id)])
            found = failure_of(caught.value)
            assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL"), name
            assert found.request_id == request_id
            answers += [str(caught.value), str(caught.value.trailing_metadata()), str(found)]
        await client.create_collection("any")
        job = await client.end_of((await client.submit("any", "some text")).id)
    answers.append(str(job))

    assert process.stop() == 0
    assert job.state == ingest_pb.JOB_STATE_FAILED
    assert job.error.reason == "INTERNAL"
    assert SECRET not in "".join(answers)
    assert SECRET not in process.log
    assert "inner" not in process.log
    for name in CALLS:
        assert f"request-of-{name}" in process.log  # where whoever runs the server finds the rest
    assert "failing_server.py" in process.log
