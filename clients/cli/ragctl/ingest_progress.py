"""The progress bars of `ingest`: one per source in flight, one in total, on standard error."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from rag.v1.ingest_service_pb2 import Job, JobState
from ragctl.ingestion import Outcome
from ragctl.output import one_line
from ragctl.sources import FileSource, Source
from ragctl.watching import state_name

LABEL_WIDTH = 40


class Silence:
    """Shows nothing: for JSON, and where standard error is no terminal."""

    def began(self, source: Source) -> None: ...

    def sent(self, source: Source, byte_count: int) -> None: ...

    def changed(self, source: Source, job: Job) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


class Bars:
    """Draws the bars. The total counts sources; a source's bar counts bytes, then embedded chunks."""

    def __init__(self, console: Console, source_count: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._total = self._progress.add_task("total", total=source_count, what=f"0/{source_count}")
        self._source_count = source_count
        self._ended_count = 0
        self._failed_count = 0
        self._tasks: dict[int, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def began(self, source: Source) -> None:
        size = source.size_bytes if isinstance(source, FileSource) else None
        label = one_line(source.label)
        if len(label) > LABEL_WIDTH:
            label = "…" + label[1 - LABEL_WIDTH :]
        task = self._progress.add_task(escape(label), total=size or None, what="uploading")
        with self._lock:
            self._tasks[id(source)] = task

    def sent(self, source: Source, byte_count: int) -> None:
        self._progress.update(self._tasks[id(source)], completed=byte_count)

    def changed(self, source: Source, job: Job) -> None:
        what = state_name(job.state).lower()
        task = self._tasks[id(source)]
        embedded = job.progress.embedded_chunk_count + job.progress.reused_chunk_count
        if job.state == JobState.JOB_STATE_EMBEDDING and job.progress.chunk_count:
            self._progress.update(
                task,
                total=job.progress.chunk_count,
                completed=embedded,
                what=f"{what} {embedded}/{job.progress.chunk_count}",
            )
        else:
            self._progress.update(task, what=what)

    def ended(self, outcome: Outcome) -> None:
        with self._lock:
            task = self._tasks.pop(id(outcome.source))
            self._ended_count += 1
            self._failed_count += outcome.problem is not None
            failed = f", {self._failed_count} failed" if self._failed_count else ""
            what = f"{self._ended_count}/{self._source_count}{failed}"
            self._progress.update(self._total, completed=self._ended_count, what=what)
        self._progress.remove_task(task)
