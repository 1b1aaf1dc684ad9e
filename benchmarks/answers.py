"""Extractive answers of a real server: what they quote, when they abstain, what they cost beside Retrieve.

    python -m benchmarks.answers en=SQUAD_JSON [es=SQUAD_JSON ...] [--limit N]

Every paragraph of a file in the SQuAD format becomes a document of one collection, of the language before the
`=`. Half of the questions are asked over gRPC as they are, and with their article filtered out, where the
only right answer is to abstain. Retrieve and Generate are timed by turns, on different questions: of a server
that remembers nothing of passages and their sentences, so that each answer meets them for the first time
(cold), and of one that has answered the other half before (warm).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from benchmarks.extractive import Question, load
from rag.v1 import (
    collection_service_pb2,
    collection_service_pb2_grpc,
    filter_pb2,
    generate_service_pb2,
    generate_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    metadata_pb2,
    options_pb2,
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
)
from rag_server.app import running_server
from rag_server.config import Settings

COLLECTION = "squad"
ABSTAINED = generate_service_pb2.FINISH_REASON_NO_RELEVANT_CONTENT
AT_ONCE = 4
CALL_TIMEOUT_S = 300.0
WARM_UP = 10


@dataclass(frozen=True, slots=True)
class Told:
    """What one question got."""

    quotes: tuple[str, ...]
    abstained: bool
    duration_s: float


class Server:
    """Calls to the server under measurement."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._collections = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self._ingest = ingest_service_pb2_grpc.IngestServiceStub(channel)
        self._generate = generate_service_pb2_grpc.GenerateServiceStub(channel)
        self._retrieve = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)

    async def fill(self, texts: Sequence[str], articles: Sequence[int], language: str) -> None:
        """Make the collection and wait until all of it can be searched."""
        await self._collections.CreateCollection(
            collection_service_pb2.CreateCollectionRequest(
                collection_id=COLLECTION, collection=collection_service_pb2.Collection(language=language)
            )
        )
        jobs = []
        for number, (text, article) in enumerate(zip(texts, articles, strict=True)):
            spec = ingest_service_pb2.DocumentSpec(document_id=f"p{number:05}")
            spec.metadata["article"].CopyFrom(metadata_pb2.MetadataValue(integer_value=article))
            request = ingest_service_pb2.IngestDocumentRequest(
                collection_id=COLLECTION, document=spec, text=text
            )
            jobs.append((await self._ingest.IngestDocument(request)).job.id)
        for job in jobs:
            watched = self._ingest.WatchJob(
                ingest_service_pb2.WatchJobRequest(job_id=job), timeout=CALL_TIMEOUT_S
            )
            states = [response.job.state async for response in watched]
            if states[-1] != ingest_service_pb2.JOB_STATE_SUCCEEDED:
                raise RuntimeError(f"{job} ended in {states[-1]}")

    async def answer(self, question: str, *, without: int | None = None) -> Told:
        """Ask a question, perhaps of all articles but one."""
        retrieval = options_pb2.RetrievalOptions()
        if without is not None:
            condition = filter_pb2.ComparisonFilter(
                field="metadata.article",
                operator=filter_pb2.COMPARISON_OPERATOR_NOT_EQUAL,
                value=metadata_pb2.MetadataValue(integer_value=without),
            )
            retrieval.filter.comparison.CopyFrom(condition)
        request = generate_service_pb2.GenerateRequest(
            collection_ids=[COLLECTION], question=question, retrieval=retrieval
        )
        began = time.perf_counter()
        response = await self._generate.Generate(request, timeout=CALL_TIMEOUT_S)
        quotes = tuple(citation.quote for citation in response.citations)
        return Told(quotes, response.finish_reason == ABSTAINED, time.perf_counter() - began)

    async def retrieve(self, question: str) -> float:
        """Return the seconds that Retrieve takes."""
        request = retrieve_service_pb2.RetrieveRequest(collection_ids=[COLLECTION], query=question)
        began = time.perf_counter()
        await self._retrieve.Retrieve(request, timeout=CALL_TIMEOUT_S)
        return time.perf_counter() - began


async def ask_all(server: Server, questions: Sequence[Question]) -> None:
    """Print what the answers are worth."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(question: Question, without: int | None) -> Told:
        async with gate:
            return await server.answer(question.text, without=without)

    told = await asyncio.gather(*(ask(each, None) for each in questions))
    bereft = await asyncio.gather(*(ask(each, each.article) for each in questions))
    found = [
        [any(answer.lower() in quote.lower() for answer in question.answers) for quote in each.quotes]
        for question, each in zip(questions, told, strict=True)
    ]
    count = len(questions)
    answered = [hits for hits, each in zip(found, told, strict=True) if not each.abstained]
    print(f"answer within the quotes               {sum(map(any, found)) / count:7.1%}")
    print(f"answer within the quotes, of those given {sum(map(any, answered)) / len(answered):5.1%}")
    print(f"answer in the first quote              {sum(hits[:1] == [True] for hits in found) / count:7.1%}")
    print(f"abstains though the article is there   {sum(each.abstained for each in told) / count:7.1%}")
    print(f"abstains when the article is left out  {sum(each.abstained for each in bereft) / count:7.1%}")


async def time_both(server: Server, questions: Sequence[Question], label: str) -> None:
    """Print the ratio. No question is both retrieved and answered: its vector would be remembered."""
    answers, retrievals = [], []
    for index, question in enumerate(questions):
        if index % 2:
            retrievals.append(await server.retrieve(question.text))
        else:
            answers.append((await server.answer(question.text)).duration_s)
    answer_s, retrieve_s = statistics.median(answers), statistics.median(retrievals)
    slow_s = statistics.quantiles(answers, n=10)[-1]
    print(
        f"{label}: Retrieve p50 {retrieve_s * 1e3:.1f} ms; answer p50 {answer_s * 1e3:.1f} ms, "
        f"p90 {slow_s * 1e3:.1f} ms; ratio of the p50 {answer_s / retrieve_s:.2f} (at most 2)"
    )


@asynccontextmanager
async def serving(folder: Path, *, remembers: bool) -> AsyncIterator[Server]:
    """Run a server on what is in `folder`; yield what calls it."""
    settings = {
        "server": {"host": "127.0.0.1", "port": 0},
        "storage": {"data_dir": str(folder)},
        "metrics": {"port": 0},
        "generation": {} if remembers else {"sentence_cache_bytes": 0},
    }
    async with (
        running_server(Settings.model_validate(settings)) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        yield Server(channel)


async def run(path: Path, language: str, limit: int | None) -> None:
    """Fill a collection, ask a server that remembers nothing, then one that does."""
    chunks, articles, questions = load(path)
    if limit is not None and limit < len(questions):
        questions = [questions[index * len(questions) // limit] for index in range(limit)]
    half = len(questions) // 2
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder), remembers=False) as server:
            await server.fill([chunk.text for chunk in chunks], articles, language)
            # once before it counts: what a process does for the first time is no passage's fault
            await time_both(server, questions[half : half + WARM_UP], f"{language}, warming up")
            await time_both(server, questions[:half], f"{language}, cold")
        async with serving(Path(folder), remembers=True) as server:
            await ask_all(server, questions[:half])
            await time_both(server, questions[half:], f"{language}, warm")


def source(argument: str) -> tuple[str, Path]:
    """Read an argument of the form `es=FILE`."""
    language, separator, path = argument.partition("=")
    if not (language and separator and path):
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form LANGUAGE=FILE")
    return language, Path(path)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sources", nargs="+", type=source, metavar="LANGUAGE=SQUAD_JSON")
    parser.add_argument("--limit", type=int, help="ask only this many questions of each, evenly spread")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for language, path in arguments.sources:
        asyncio.run(run(path, language, arguments.limit))


if __name__ == "__main__":
    main()
