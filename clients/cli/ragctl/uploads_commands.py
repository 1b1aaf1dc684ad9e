"""`ragctl uploads`: get, cancel."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from rag.v1.ingest_service_pb2 import CancelUploadRequest, GetUploadRequest, Upload
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.output import as_dict, shown_size
from ragctl.session import Session
from ragctl.watching import state_name

app = typer.Typer(help="Show and give up uploads that can be resumed.", no_args_is_help=True)

UploadId = Annotated[str, typer.Argument(metavar="UPLOAD", help="The upload.")]


@app.command("get")
@command
def get(session: Session, *, upload_id: UploadId) -> None:
    """Show how far an upload has come."""
    stub = IngestServiceStub(session.channel)
    response = stub.GetUpload(GetUploadRequest(upload_id=upload_id), timeout=session.unary_timeout_s)
    _show(session, response.upload)


@app.command("cancel")
@command
def cancel(session: Session, *, upload_id: UploadId) -> None:
    """Give up an upload and its bytes. One that has ended stays as it is."""
    stub = IngestServiceStub(session.channel)
    request = CancelUploadRequest(upload_id=upload_id, request_id=str(uuid.uuid4()))
    upload = stub.CancelUpload(request, timeout=session.unary_timeout_s).upload
    _show(session, upload)
    session.output.note("it had ended before" if upload.HasField("job") else "given up")


def _show(session: Session, upload: Upload) -> None:
    if session.output.is_json:
        session.output.document({"upload": as_dict(upload)})
        return
    has_job = upload.HasField("job")
    session.output.fields(
        [
            ("upload", upload.id),
            ("collection", upload.collection_id),
            ("received", f"{upload.offset} bytes ({shown_size(upload.offset)})"),
            ("job", f"{upload.job.id} ({state_name(upload.job.state)} when accepted)" if has_job else ""),
            ("opened", shown_time(upload, "create_time")),
            ("expires", shown_time(upload, "expire_time")),
        ]
    )
