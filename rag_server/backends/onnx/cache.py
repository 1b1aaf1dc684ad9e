"""Exports a model once per machine, and gives back what is there already.

`<cache_dir>/<slug>-<fingerprint>/` is a finished export: it appears by a rename, so a reader finds all
of it or nothing. Processes that start at once wait for one another on a lock file; a process that
is killed gives its lock back, and the next one removes what it left.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

import rag_server
from rag_server.backends.onnx.artifact import (
    CorruptArtifact,
    ExportedModel,
    read_artifact,
)
from rag_server.backends.onnx.export_kind import ExportKind
from rag_server.backends.onnx.source import EXPORT_VERSION, ModelSource, fingerprint
from rag_server.errors import Unavailable

_logger = structlog.get_logger(__name__)

_LOCK_POLL_S = 0.1
_LOGGED_CHARACTERS = 4000

_CRASH = "its export to ONNX failed: the server's log has the cause"


async def ensure_exported(source: ModelSource, cache_dir: Path) -> ExportedModel:
    """Return the export of `source`, made now if `cache_dir` has none that is intact.

    The export runs in a process of its own, which ends when the caller is cancelled. Raises
    `Unavailable` with what to do where the model cannot be exported or `cache_dir` not be written.
    """
    try:
        key = await asyncio.to_thread(_key, source)
        if (found := await asyncio.to_thread(_find, source, cache_dir, key)) is not None:
            return found
        await asyncio.to_thread(cache_dir.mkdir, parents=True, exist_ok=True)
        async with _locked(cache_dir / f".{source.entry}.lock"):
            # another process may have made it while this one waited
            if (found := await asyncio.to_thread(_find, source, cache_dir, key)) is not None:
                return found
            return await _export(source, cache_dir)
    except OSError as error:
        _logger.error("model cache unusable", model=source.id, folder=str(cache_dir), error=error.strerror)
        raise _unavailable(
            source, "the folder for exported models, or the model's own, cannot be read or written"
        ) from error


def discard(model: ExportedModel) -> None:
    """Remove a cache entry that turned out to be unusable. Raises `OSError`."""
    with tempfile.TemporaryDirectory(dir=model.folder.parent, prefix=".old-") as trash:
        model.folder.rename(Path(trash) / "export")


def _key(source: ModelSource) -> str:
    """Return the end of the entry's name: a fingerprint, or `*` while only the exporter can compute it."""
    return fingerprint(source.folder) if source.folder is not None else "*"


def _find(source: ModelSource, cache_dir: Path, key: str) -> ExportedModel | None:
    for folder in sorted(cache_dir.glob(f"{source.entry}-{key}")):
        try:
            model = read_artifact(folder)
        except CorruptArtifact as error:
            _logger.warning("cached model is corrupt: exporting again", folder=str(folder), error=str(error))
            continue
        # a slug may stand for two ids, and a fetched model's key is not compared
        current = model.description.export_version == EXPORT_VERSION
        if current and (source.folder is not None or model.description.id == source.id):
            return model
    return None


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # held: no way to await a file lock but to ask again
                await asyncio.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)  # releases the lock


async def _export(source: ModelSource, cache_dir: Path) -> ExportedModel:
    """Export into a temporary folder beside the entry, then move it there. Call with the lock held."""
    prefix = f".export-{source.entry}."  # no entry's name has a dot: never another model's
    for leftover in await asyncio.to_thread(lambda: list(cache_dir.glob(f"{prefix}*"))):
        await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
    work = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=cache_dir, prefix=prefix))
    try:
        _logger.info("exporting model, once", kind=source.kind.noun, model=source.id, folder=str(cache_dir))
        status, output = await _run_exporter(source, work)
        if status != 0:
            _logger.error(
                "export failed", model=source.id, status=status, output=output[-_LOGGED_CHARACTERS:]
            )
            raise _unavailable(source, _failure(source.kind, status))
        try:
            return await asyncio.to_thread(_publish, work, source, cache_dir)
        except CorruptArtifact as error:
            _logger.error("export incomplete", model=source.id, error=str(error))
            raise _unavailable(source, _CRASH) from error
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


def _publish(work: Path, source: ModelSource, cache_dir: Path) -> ExportedModel:
    made = read_artifact(work)
    folder = cache_dir / f"{source.entry}-{made.description.fingerprint}"
    if folder.exists():
        discard(ExportedModel(folder, made.description))
    work.chmod(0o755)  # mkdtemp makes it private to this user
    work.rename(folder)
    return read_artifact(folder)


async def _run_exporter(source: ModelSource, output: Path) -> tuple[int, str]:
    """Run the export process; return its exit status and what it printed. Killed on cancellation."""
    package_parent = str(Path(rag_server.__file__).parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")])),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if source.folder is not None:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", source.kind.module),
        *("--id", source.id, "--load", source.load_argument, "--output", str(output)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        printed, _ = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
        raise
    return process.returncode or 0, printed.decode("utf-8", "replace")


def _failure(kind: ExportKind, status: int) -> str:
    """Return what the exit status of an export says; any that it does not choose itself is a crash."""
    return {3: kind.unsupported, 4: kind.mismatch, 5: kind.not_loaded}.get(status, _CRASH)


def _unavailable(source: ModelSource, problem: str) -> Unavailable:
    shown = source.slug if source.folder is not None else source.id
    return Unavailable(
        source.kind.reason, f"{source.kind.noun} {shown}: {problem}", metadata={"model": shown}
    )
