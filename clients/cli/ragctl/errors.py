"""What went wrong, from a call's status or our own checks, and how it is told: never as a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import typer
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.text import Text

from ragctl.exit_codes import ExitCode
from ragctl.output import Output, printable
from ragctl.session import Session

REQUEST_ID_HEADER = "x-request-id"
UNREACHABLE = "SERVER_UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a command, or one document of it, failed."""

    reason: str
    """Stable, upper snake case: the server's, or one of ours."""
    message: str
    exit_code: ExitCode = ExitCode.FAILED
    status: str = ""
    """Name of the gRPC status; empty when no call was made."""
    violations: tuple[tuple[str, str], ...] = ()
    """Path of a field and what is wrong with it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    retry_after_s: float | None = None
    """When the server says that the same call may succeed; None: it says nothing."""

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as JSON-ready data."""
        return {
            "error": {
                "reason": self.reason,
                "message": self.message,
                "status": self.status,
                "field_violations": [
                    {"field": path, "description": description} for path, description in self.violations
                ],
                "metadata": dict(self.metadata),
                "request_id": self.request_id,
                "retry_after_s": self.retry_after_s,
                "exit_code": int(self.exit_code),
            }
        }


class CommandFailed(Exception):
    """A command cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem

    @classmethod
    def for_usage(cls, message: str) -> CommandFailed:
        """Return the error for wrong options or arguments."""
        return cls(Problem("USAGE", message, ExitCode.USAGE))


def status_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of a failed call."""
    call = _call_of(error)
    return grpc.StatusCode.UNKNOWN if call is None else call.code()


def _call_of(error: object) -> grpc.Call | None:
    """Return the call that an error of gRPC is as well; None for one that is not, which gRPC allows."""
    return error if isinstance(error, grpc.Call) else None


def from_rpc(error: grpc.RpcError) -> Problem:
    """Return what a failed call says: ErrorInfo, BadRequest and RetryInfo where the server sent them."""
    code = status_of(error)
    call = _call_of(error)
    if call is None:
        return Problem(code.name, "the call failed", status=code.name)
    info = error_details_pb2.ErrorInfo()
    violations: list[tuple[str, str]] = []
    retry_after_s: float | None = None
    request_id = _trailing(call, REQUEST_ID_HEADER)
    for detail in _details(call):
        bad_request = error_details_pb2.BadRequest()
        retry_info = error_details_pb2.RetryInfo()
        request_info = error_details_pb2.RequestInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Unpack(bad_request):
            violations += [(each.field, each.description) for each in bad_request.field_violations]
        elif detail.Unpack(retry_info):
            retry_after_s = retry_info.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(request_info):
            request_id = request_id or request_info.request_id
    if code is grpc.StatusCode.UNAVAILABLE and not info.reason:
        # Without ErrorInfo nobody of ours spoke: the transport failed.
        return Problem(UNREACHABLE, "no server answers", ExitCode.UNREACHABLE, code.name)
    is_late = code is grpc.StatusCode.DEADLINE_EXCEEDED
    return Problem(
        reason=info.reason or code.name,
        message=call.details() or "the server gave no message",
        exit_code=ExitCode.DEADLINE if is_late else ExitCode.FAILED,
        status=code.name,
        violations=tuple(violations),
        metadata=dict(info.metadata),
        request_id=request_id,
        retry_after_s=retry_after_s,
    )


def _details(call: grpc.Call) -> list[Any]:
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details that contradict the status: what the transport says counts
        return []
    return [] if status is None else list(status.details)


def _trailing(call: grpc.Call, header: str) -> str:
    for key, value in call.trailing_metadata() or ():
        if key == header:
            return value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return ""


def show(output: Output, problem: Problem) -> None:
    """Write a problem to standard error."""
    if output.is_json:
        output.error_document(problem.as_dict())
        return
    heading = Text("error", style="bold red")
    heading.append(f" {printable(problem.reason)}: ", style="bold")
    heading.append(printable(problem.message), style="not bold")
    output.err.print(heading, soft_wrap=True)
    for path, description in problem.violations:
        line = f"{path}: {description}"
        if line != problem.message:  # else it has just been told
            output.note(f"  {line}", style="")
    if problem.retry_after_s is not None:
        output.note(f"  the server says: try again in {problem.retry_after_s:g} s", style="")
    if problem.request_id:
        output.note(f"  request id {problem.request_id}")


@contextmanager
def reported(session: Session) -> Iterator[None]:
    """Turn what a command raises into its message and exit code.

    Raises:
        typer.Exit: With the code of the problem.
    """
    try:
        yield
    except grpc.RpcError as error:
        problem = from_rpc(error)
        if problem.reason == UNREACHABLE:
            problem = unreachable(session)
        show(session.output, problem)
        raise typer.Exit(problem.exit_code) from error
    except CommandFailed as error:
        show(session.output, error.problem)
        raise typer.Exit(error.problem.exit_code) from error
    except (KeyboardInterrupt, typer.Abort) as error:
        session.close()
        show(session.output, Problem("INTERRUPTED", "interrupted", ExitCode.INTERRUPTED))
        raise typer.Exit(ExitCode.INTERRUPTED) from error
    except BrokenPipeError:
        raise  # the reader of our output left; typer ends quietly
    except OSError as error:
        show(session.output, Problem("LOCAL_IO", local_io_message(error)))
        raise typer.Exit(ExitCode.FAILED) from error


def unreachable(session: Session) -> Problem:
    """Return the problem of a server that does not answer, and what to do."""
    return Problem(
        UNREACHABLE,
        f"no server answers at {session.options.server}. Start one with `ragctl serve`, "
        "or name another with --server HOST:PORT.",
        ExitCode.UNREACHABLE,
        grpc.StatusCode.UNAVAILABLE.name,
    )


def local_io_message(error: OSError) -> str:
    """Return what the operating system says of a file of the caller's."""
    text = error.strerror or type(error).__name__
    return f"{os.fspath(error.filename)!r}: {text}" if isinstance(error.filename, str) else text
