"""A small server that speaks the whole contract over real gRPC, from memory, for the tests of ragctl."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rag.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    assistant_pb2,
    assistant_service_pb2,
    assistant_service_pb2_grpc,
    collection_service_pb2,
    collection_service_pb2_grpc,
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    document_service_pb2,
    document_service_pb2_grpc,
    dry_run_pb2,
    generate_service_pb2,
    generate_service_pb2_grpc,
    grounding_pb2,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
)
from rag.v1.ingest_service_pb2 import ItemError, Job, JobError, JobKind, JobProgress, JobState

REQUEST_ID = "request-0042"

Refusal = Callable[[grpc.ServicerContext], NoReturn]


def refusal(
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str = "",
    violations: tuple[tuple[str, str], ...] = (),
    retry_after_s: float | None = None,
) -> Refusal:
    """Return what ends a call as the server does; without a reason, as a proxy would: no details."""

    def refuse(context: grpc.ServicerContext) -> NoReturn:
        details: list[Message] = []
        if reason:
            details.append(ErrorInfo(reason=reason, domain="rag-server", metadata={"limit": "7"}))
        if violations:
            fields = [BadRequest.FieldViolation(field=path, description=text) for path, text in violations]
            details.append(BadRequest(field_violations=fields))
        if retry_after_s is not None:
            delay = Duration()
            delay.FromMilliseconds(round(retry_after_s * 1000))
            details.append(RetryInfo(retry_delay=delay))
        status = Status(code=code.value[0], message=message)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        trailing: list[tuple[str, str | bytes]] = [("x-request-id", REQUEST_ID)]
        if details:
            trailing.append(("grpc-status-details-bin", status.SerializeToString()))
        context.set_trailing_metadata(tuple(trailing))
        context.abort(code, message)

    return refuse


class FakeRag:
    """Collections, documents and jobs in memory; each call is kept in `calls`."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.timeouts: dict[str, list[float]] = defaultdict(list)
        self.refusals: dict[str, list[Refusal]] = defaultdict(list)
        """Method to what its next calls end with, first come first served."""
        self.collections: dict[str, collection_service_pb2.Collection] = {}
        self.documents: list[document_service_pb2.Document] = []
        self.chunks: list[Any] = []
        self.batch_deletions: list[document_service_pb2.BatchDeleteDocumentsResponse] = []
        self.revisions: list[document_service_pb2.DocumentRevision] = []
        self.download: list[document_service_pb2.DownloadDocumentResponse] = []
        self.reconciliation: list[admin_service_pb2.ReconcileResponse] = []
        self.uploads: dict[str, bytes] = {}
        self.open_uploads: dict[str, ingest_service_pb2.Upload] = {}
        self.upload_breaks = 0
        """Which piece of a resumable upload, from 1 on, breaks its stream; 0: none."""
        self.dry_run_report = dry_run_pb2.DryRunReport()
        self.stream_window = 2
        self.stream_break_status = grpc.StatusCode.UNAVAILABLE
        self.stream_breaks = 0
        """Number of answers after which a stream of documents breaks, once; 0: it does not."""
        self.item_errors: dict[str, list[ingest_service_pb2.IngestDocumentsItemError]] = {}
        """Document to what its next items are answered with."""
        self.jobs: dict[str, Job] = {}
        self.job_failures: dict[str, JobError] = {}
        self.left_out: list[ItemError] = []
        """Document to the error that its job ends with."""
        self.is_crawl_queued = False
        self.crawl_errors: list[ItemError] = []
        """Of every crawl; without any it succeeds."""
        self.watch_breaks: int = 0
        """Watches that break with UNAVAILABLE after their first response."""
        self.events: list[generate_service_pb2.StreamGenerateResponse] = []
        self.token_model = generate_service_pb2.CountTokensResponse()
        """What is told of the model that counts tokens."""
        self.grounding_response = grounding_pb2.CheckGroundingResponse()
        self.answer_breaks: list[int] = []
        """Of each stream of an answer that can be resumed, the number of the event after which it breaks."""
        self.conversations: dict[str, conversation_service_pb2.Conversation] = {}
        self.messages: list[conversation_service_pb2.Message] = []
        """Those of every conversation."""
        self.assistants: dict[str, assistant_pb2.Assistant] = {}
        self.assistant_revisions: list[assistant_pb2.Assistant] = []
        self.retrieve_response = retrieve_service_pb2.RetrieveResponse()
        self.analyze_response = retrieve_service_pb2.AnalyzeResponse()
        self.embed_response = retrieve_service_pb2.EmbedResponse()
        self.rerank_response = retrieve_service_pb2.RerankResponse()
        self.info = admin_service_pb2.GetServerInfoResponse()
        self.health: dict[str, Any] = {}
        self._lock = threading.Lock()

    def note(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        """Keep the call; end it when a refusal is waiting for it."""
        with self._lock:
            self.calls[method].append(request)
            remaining: float | None = context.time_remaining()  # the published type leaves None out
            self.timeouts[method].append(inf if remaining is None else remaining)
            waiting = self.refusals[method]
            refuse = waiting.pop(0) if waiting else None
        if refuse:
            refuse(context)

    # CollectionService

    def GetCollection(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetCollection", request, context)
        if request.collection_id not in self.collections:
            refusal(grpc.StatusCode.NOT_FOUND, "no collection", reason="COLLECTION_NOT_FOUND")(context)
        return collection_service_pb2.GetCollectionResponse(
            collection=self.collections[request.collection_id]
        )

    def CreateCollection(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CreateCollection", request, context)
        collection = collection_service_pb2.Collection()
        collection.CopyFrom(request.collection)
        collection.id = request.collection_id
        self.collections[collection.id] = collection
        return collection_service_pb2.CreateCollectionResponse(collection=collection)

    def ListCollections(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListCollections", request, context)
        page, token = _page(list(self.collections.values()), request)
        return collection_service_pb2.ListCollectionsResponse(collections=page, next_page_token=token)

    def UpdateCollection(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("UpdateCollection", request, context)
        request.update_mask.MergeMessage(request.collection, self.collections[request.collection_id])
        return collection_service_pb2.UpdateCollectionResponse(
            collection=self.collections[request.collection_id]
        )

    def DeleteCollection(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("DeleteCollection", request, context)
        self.collections.pop(request.collection_id)
        return collection_service_pb2.DeleteCollectionResponse()

    # IngestService

    def _accept(self, collection_id: str, document_id: str) -> Job:
        with self._lock:
            job = Job(
                id=f"job-{len(self.jobs)}",
                collection_id=collection_id,
                document_id=document_id,
                state=JobState.JOB_STATE_QUEUED,
                sequence=1,
            )
            self.jobs[job.id] = job
        return job

    def IngestDocument(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("IngestDocument", request, context)
        if request.HasField("dry_run"):
            return ingest_service_pb2.IngestDocumentResponse(dry_run=self.dry_run_report)
        document_id = request.document.document_id or request.uri.rpartition("/")[2]
        return ingest_service_pb2.IngestDocumentResponse(job=self._accept(request.collection_id, document_id))

    def UploadDocument(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        first = next(requests)
        if first.WhichOneof("part") == "resume":
            return self._resume(first.resume, requests, context)
        start = first.start
        pieces = [each.data for each in requests]
        self.note("UploadDocument", start, context)
        self.calls["pieces"].append([len(each) for each in pieces])
        with self._lock:
            self.uploads[start.document.document_id] = b"".join(pieces)
        job = self._accept(start.collection_id, start.document.document_id)
        return ingest_service_pb2.UploadDocumentResponse(job=job)

    def _resume(self, resume: Any, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Take pieces of an upload; the stream breaks before the piece that `upload_breaks` counts."""
        upload = self.open_uploads[resume.upload_id]
        if resume.offset != upload.offset:
            refusal(grpc.StatusCode.FAILED_PRECONDITION, "elsewhere", reason="UPLOAD_OFFSET_MISMATCH")(
                context
            )
        for request in requests:
            if self.upload_breaks > 0:
                self.upload_breaks -= 1
                if self.upload_breaks == 0:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")
            self.uploads[upload.id] = self.uploads.get(upload.id, b"") + request.data
            upload.offset += len(request.data)
        self.note("UploadDocument", resume, context)
        upload.job.CopyFrom(self._accept(upload.collection_id, "uploaded"))
        return ingest_service_pb2.UploadDocumentResponse(job=upload.job)

    def StartUpload(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("StartUpload", request, context)
        upload = ingest_service_pb2.Upload(
            id=f"upload-{len(self.open_uploads)}", collection_id=request.collection_id
        )
        self.open_uploads[upload.id] = upload
        return ingest_service_pb2.StartUploadResponse(upload=upload)

    def GetUpload(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetUpload", request, context)
        if request.upload_id not in self.open_uploads:
            refusal(grpc.StatusCode.NOT_FOUND, "no upload", reason="UPLOAD_NOT_FOUND")(context)
        return ingest_service_pb2.GetUploadResponse(upload=self.open_uploads[request.upload_id])

    def CancelUpload(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CancelUpload", request, context)
        return ingest_service_pb2.CancelUploadResponse(upload=self.open_uploads[request.upload_id])

    def IngestDocuments(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer items within a window of `stream_window` items; after `stream_breaks` answers break once."""
        start = next(requests).start
        self.note("IngestDocuments", start, context)
        count = 0

        def response(answer: Any = None) -> Any:
            window = ingest_service_pb2.IngestDocumentsWindow(
                item_count=count + self.stream_window, content_bytes=1 << 30
            )
            return ingest_service_pb2.IngestDocumentsResponse(item=answer, window=window)

        yield response()
        for request in requests:
            item = request.item
            if self.stream_breaks and count == self.stream_breaks:
                self.stream_breaks = 0
                context.abort(self.stream_break_status, "connection lost")
            self.calls["items"].append(item)
            errors = self.item_errors.get(item.document.document_id, [])
            answer = ingest_service_pb2.IngestDocumentsAnswer(item_id=item.item_id)
            if errors:
                answer.error.CopyFrom(errors.pop(0))
            else:
                answer.job.CopyFrom(self._accept(start.collection_id, item.document.document_id))
            count += 1
            yield response(answer)

    def CrawlSite(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CrawlSite", request, context)
        job = self._accept(request.collection_id, "")
        job.kind = JobKind.JOB_KIND_CRAWL
        return ingest_service_pb2.CrawlSiteResponse(job=job, is_queued=self.is_crawl_queued)

    def GetJob(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetJob", request, context)
        return ingest_service_pb2.GetJobResponse(job=self.jobs[request.job_id])

    def ListJobs(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListJobs", request, context)
        page, token = _page(list(self.jobs.values()), request)
        return ingest_service_pb2.ListJobsResponse(jobs=page, next_page_token=token)

    def CancelJob(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CancelJob", request, context)
        self.jobs[request.job_id].cancel_requested = True
        return ingest_service_pb2.CancelJobResponse(job=self.jobs[request.job_id])

    def RetryJob(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("RetryJob", request, context)
        self.jobs[request.job_id].state = JobState.JOB_STATE_QUEUED
        return ingest_service_pb2.RetryJobResponse(job=self.jobs[request.job_id])

    def changes(self, job: Job) -> list[Job]:
        """Return the states that a job goes through, by sequence from 1."""
        states = [JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_EMBEDDING]
        failure = self.job_failures.get(job.document_id)
        final = JobState.JOB_STATE_FAILED if failure else JobState.JOB_STATE_SUCCEEDED
        if self.left_out and not failure:
            final = JobState.JOB_STATE_PARTIALLY_SUCCEEDED
        progress = JobProgress(chunk_count=4, embedded_chunk_count=2, failed_item_count=len(self.left_out))
        if job.kind == JobKind.JOB_KIND_CRAWL:
            failed = len(self.crawl_errors)
            progress = JobProgress(found_item_count=3, done_item_count=3 - failed, failed_item_count=failed)
            if failed:
                final = JobState.JOB_STATE_PARTIALLY_SUCCEEDED
        return [
            Job(
                id=job.id,
                collection_id=job.collection_id,
                document_id=job.document_id,
                state=state,
                sequence=sequence,
                progress=progress,
                error=failure if state == JobState.JOB_STATE_FAILED else None,
                kind=job.kind,
                item_errors=[*self.left_out, *self.crawl_errors] if state == final else (),
            )
            for sequence, state in enumerate([*states, final], start=1)
        ]

    def WatchJob(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.note("WatchJob", request, context)
        for job in self.changes(self.jobs[request.job_id])[int(request.cursor or 0) :]:
            yield ingest_service_pb2.WatchJobResponse(job=job, cursor=str(job.sequence))
            with self._lock:
                breaks = self.watch_breaks > 0
                self.watch_breaks -= breaks
            if breaks:
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")

    # DocumentService

    def GetDocument(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetDocument", request, context)
        return document_service_pb2.GetDocumentResponse(document=self.documents[0])

    def ListDocuments(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListDocuments", request, context)
        page, token = _page(self.documents, request)
        return document_service_pb2.ListDocumentsResponse(documents=page, next_page_token=token)

    def DeleteDocument(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("DeleteDocument", request, context)
        return document_service_pb2.DeleteDocumentResponse(collection_revision=9)

    def ListChunks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListChunks", request, context)
        page, token = _page(self.chunks, request)
        return document_service_pb2.ListChunksResponse(chunks=page, next_page_token=token)

    def BatchDeleteDocuments(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("BatchDeleteDocuments", request, context)
        return self.batch_deletions.pop(0)

    def ListDocumentRevisions(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListDocumentRevisions", request, context)
        page, token = _page(self.revisions, request)
        return document_service_pb2.ListDocumentRevisionsResponse(revisions=page, next_page_token=token)

    def RestoreDocumentRevision(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("RestoreDocumentRevision", request, context)
        job = Job(id="restoring", collection_id=request.collection_id, document_id=request.document_id)
        self.jobs[job.id] = job
        return document_service_pb2.RestoreDocumentRevisionResponse(job=job)

    def DownloadDocument(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.note("DownloadDocument", request, context)
        yield from self.download

    def Reconcile(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.note("Reconcile", request, context)
        yield from self.reconciliation

    # RetrieveService

    def Retrieve(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("Retrieve", request, context)
        return self.retrieve_response

    def BatchRetrieve(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("BatchRetrieve", request, context)
        return retrieve_service_pb2.BatchRetrieveResponse()

    def Analyze(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("Analyze", request, context)
        return self.analyze_response

    def Embed(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("Embed", request, context)
        return self.embed_response

    def Rerank(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("Rerank", request, context)
        return self.rerank_response

    # GenerateService

    def Generate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("Generate", request, context)
        return generate_service_pb2.GenerateResponse()

    def StreamGenerate(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.note("StreamGenerate", request, context)
        if self.answer_breaks:  # each event in its place, up to where the connection breaks
            after = int(request.resume_cursor or "0")
            until = self.answer_breaks.pop(0)
            for number, event in enumerate(self.events[after:until], after + 1):
                event.cursor = str(number)
                yield event
            if until < len(self.events):
                refusal(grpc.StatusCode.UNAVAILABLE, "the connection broke")(context)
            return
        yield from self.events

    def CountTokens(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CountTokens", request, context)
        response = generate_service_pb2.CountTokensResponse(
            token_counts=[len(each) for each in request.texts]
        )
        response.MergeFrom(self.token_model)
        return response

    def CheckGrounding(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CheckGrounding", request, context)
        return self.grounding_response

    # ConversationService

    def CreateConversation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CreateConversation", request, context)
        conversation = conversation_service_pb2.Conversation()
        conversation.CopyFrom(request.conversation)
        conversation.id = f"talk-{len(self.conversations)}"
        self.conversations[conversation.id] = conversation
        return conversation_service_pb2.CreateConversationResponse(conversation=conversation)

    def GetConversation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetConversation", request, context)
        if request.conversation_id not in self.conversations:
            refusal(grpc.StatusCode.NOT_FOUND, "no conversation", reason="CONVERSATION_NOT_FOUND")(context)
        return conversation_service_pb2.GetConversationResponse(
            conversation=self.conversations[request.conversation_id]
        )

    def ListConversations(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListConversations", request, context)
        page, token = _page(list(self.conversations.values()), request)
        return conversation_service_pb2.ListConversationsResponse(conversations=page, next_page_token=token)

    def UpdateConversation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("UpdateConversation", request, context)
        conversation = self.conversations[request.conversation_id]
        request.update_mask.MergeMessage(request.conversation, conversation)
        return conversation_service_pb2.UpdateConversationResponse(conversation=conversation)

    def DeleteConversation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("DeleteConversation", request, context)
        self.conversations.pop(request.conversation_id)
        return conversation_service_pb2.DeleteConversationResponse()

    def ListMessages(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListMessages", request, context)
        page, token = _page(self.messages, request)
        return conversation_service_pb2.ListMessagesResponse(messages=page, next_page_token=token)

    # AssistantService

    def CreateAssistant(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("CreateAssistant", request, context)
        assistant = assistant_pb2.Assistant()
        assistant.CopyFrom(request.assistant)
        assistant.id = request.assistant_id
        self.assistants[assistant.id] = assistant
        return assistant_service_pb2.CreateAssistantResponse(assistant=assistant)

    def GetAssistant(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetAssistant", request, context)
        if request.assistant_id not in self.assistants:
            refusal(grpc.StatusCode.NOT_FOUND, "no assistant", reason="ASSISTANT_NOT_FOUND")(context)
        return assistant_service_pb2.GetAssistantResponse(assistant=self.assistants[request.assistant_id])

    def ListAssistants(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListAssistants", request, context)
        page, token = _page(list(self.assistants.values()), request)
        return assistant_service_pb2.ListAssistantsResponse(assistants=page, next_page_token=token)

    def UpdateAssistant(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("UpdateAssistant", request, context)
        assistant = self.assistants[request.assistant_id]
        request.update_mask.MergeMessage(request.assistant, assistant, True, True)
        return assistant_service_pb2.UpdateAssistantResponse(assistant=assistant)

    def DeleteAssistant(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("DeleteAssistant", request, context)
        self.assistants.pop(request.assistant_id)
        return assistant_service_pb2.DeleteAssistantResponse()

    def ListAssistantRevisions(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("ListAssistantRevisions", request, context)
        page, token = _page(self.assistant_revisions, request)
        return assistant_service_pb2.ListAssistantRevisionsResponse(revisions=page, next_page_token=token)

    def RestoreAssistantRevision(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("RestoreAssistantRevision", request, context)
        return assistant_service_pb2.RestoreAssistantRevisionResponse(
            assistant=self.assistants[request.assistant_id]
        )

    # AdminService

    def GetServerInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("GetServerInfo", request, context)
        return self.info

    # grpc.health.v1

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("Check", request, context)
        if request.service not in self.health:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=self.health[request.service])

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.note("List", request, context)
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not needed here")

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.note("Watch", request, context)
        for status in self.health["watched"]:
            yield health_pb2.HealthCheckResponse(status=status)


def _page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    start = int(request.page_token or 0)
    end = start + request.page_size
    return items[start:end], str(end) if end < len(items) else ""


def serve(rag: FakeRag) -> tuple[grpc.Server, int]:
    """Start a server on a free port of the loopback; return it and the port."""
    servicer: Any = rag
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    collection_service_pb2_grpc.add_CollectionServiceServicer_to_server(servicer, server)
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(servicer, server)
    document_service_pb2_grpc.add_DocumentServiceServicer_to_server(servicer, server)
    retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(servicer, server)
    generate_service_pb2_grpc.add_GenerateServiceServicer_to_server(servicer, server)
    conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(servicer, server)
    assistant_service_pb2_grpc.add_AssistantServiceServicer_to_server(servicer, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port
