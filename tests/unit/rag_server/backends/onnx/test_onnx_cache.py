"""The cache of exports; all but the last tests stand in for the export process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rag_server.backends.onnx import cache
from rag_server.backends.onnx.artifact import Description, file_sizes, write_description
from rag_server.backends.onnx.export_kind import CROSS_ENCODER
from rag_server.backends.onnx.source import EXPORT_VERSION, ModelSource, fingerprint, resolve
from rag_server.errors import Unavailable

REMOTE = ModelSource("acme/remote", None)


class FakeExporter:
    """Writes what `files` says and ends with `status`."""

    def __init__(self) -> None:
        self.runs: list[ModelSource] = []
        self.status = 0
        self.incomplete = False

    async def __call__(self, source: ModelSource, output: Path) -> tuple[int, str]:
        self.runs.append(source)
        await asyncio.sleep(0)
        (output / "model.onnx").write_bytes(b"graph %d" % len(self.runs))
        (output / "model.onnx.data").write_bytes(b"weights")
        (output / "tokenizer.json").write_bytes(b"{}")
        if self.status == 0 and not self.incomplete:
            digest = fingerprint(source.folder) if source.folder is not None else "f" * 16
            write_description(
                output,
                Description(
                    id=source.id,
                    dimension=4,
                    window_tokens=16,
                    special_token_count=2,
                    languages=(),
                    pooling="mean",
                    normalize=True,
                    fingerprint=digest,
                    export_version=EXPORT_VERSION,
                    pad_token_id=0,
                    sizes=file_sizes(output),
                ),
            )
        return self.status, "Traceback: secret detail"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> FakeExporter:
    fake = FakeExporter()
    monkeypatch.setattr(cache, "_run_exporter", fake)
    return fake


@pytest.fixture
def local(tmp_path: Path) -> ModelSource:
    folder = tmp_path / "Weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w")
    return resolve(str(folder))


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


async def test_ensure_exported_twice_exports_once(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    first = await cache.ensure_exported(local, tmp_path / "cache" / "deep")
    again = await cache.ensure_exported(local, tmp_path / "cache" / "deep")
    assert first == again
    assert len(exporter.runs) == 1
    assert visible(tmp_path / "cache" / "deep") == [f"weights-{first.description.fingerprint}"]


async def test_ensure_exported_at_once_exports_once(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    models = await asyncio.gather(*(cache.ensure_exported(local, tmp_path / "cache") for _ in range(4)))
    assert len(exporter.runs) == 1
    assert all(model == models[0] for model in models)


async def test_ensure_exported_changed_weights_exports_again(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    first = await cache.ensure_exported(local, tmp_path / "cache")
    assert local.folder is not None
    (local.folder / "model.safetensors").write_bytes(b"other")
    second = await cache.ensure_exported(local, tmp_path / "cache")
    assert first.folder != second.folder
    assert len(exporter.runs) == 2


@pytest.mark.parametrize("name", ["model.json", "model.onnx", "model.onnx.data", "tokenizer.json"])
@pytest.mark.parametrize("truncated", [False, True])
async def test_ensure_exported_corrupt_entry_is_rebuilt(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path, name: str, truncated: bool
) -> None:
    broken = (await cache.ensure_exported(local, tmp_path / "cache")).folder / name
    content = broken.read_bytes()
    if truncated:
        broken.write_bytes(content[:-1] if name != "model.json" else content[:5])
    else:
        broken.unlink()
    model = await cache.ensure_exported(local, tmp_path / "cache")
    assert len(exporter.runs) == 2
    assert model.graph.read_bytes() == b"graph 2"
    assert visible(tmp_path / "cache") == [model.folder.name]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (3, "not supported"),
        (4, "does not give the vectors"),
        (5, "could not be loaded"),
        (-9, "server's log"),
    ],
)
async def test_ensure_exported_failing_export_says_why_and_leaves_nothing(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path, status: int, message: str
) -> None:
    exporter.status = status
    with pytest.raises(Unavailable, match=message) as raised:
        await cache.ensure_exported(local, tmp_path / "cache")
    assert raised.value.reason == "EMBEDDER_UNAVAILABLE"
    assert "secret" not in raised.value.message
    assert str(tmp_path) not in raised.value.message
    assert visible(tmp_path / "cache") == []


async def test_ensure_exported_incomplete_export_leaves_nothing(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    exporter.incomplete = True
    with pytest.raises(Unavailable):
        await cache.ensure_exported(local, tmp_path / "cache")
    assert visible(tmp_path / "cache") == []


async def test_ensure_exported_removes_what_a_killed_process_left(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    leftover = tmp_path / "cache" / ".export-weights.abc"
    leftover.mkdir(parents=True)
    (leftover / "raw.onnx").write_bytes(b"x")
    model = await cache.ensure_exported(local, tmp_path / "cache")
    assert visible(tmp_path / "cache") == [model.folder.name]


async def test_ensure_exported_leaves_the_work_of_a_model_with_a_longer_name_alone(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    other = tmp_path / "cache" / ".export-weights-2.abc"
    other.mkdir(parents=True)
    await cache.ensure_exported(local, tmp_path / "cache")
    assert other.is_dir()


async def test_ensure_exported_same_folder_as_another_kind_is_another_entry(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    reranker = replace(local, kind=CROSS_ENCODER)
    first = await cache.ensure_exported(local, tmp_path / "cache")
    second = await cache.ensure_exported(reranker, tmp_path / "cache")
    assert exporter.runs == [local, reranker]
    assert first.folder != second.folder
    exporter.status = 4
    with pytest.raises(Unavailable, match=r"cross-encoder acme/remote: .* scores") as raised:
        await cache.ensure_exported(replace(REMOTE, kind=CROSS_ENCODER), tmp_path / "cache")
    assert raised.value.reason == "RERANKER_UNAVAILABLE"


async def test_ensure_exported_cache_dir_is_a_file_says_what_is_wrong(
    exporter: FakeExporter, local: ModelSource, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(Unavailable, match="cannot be read or written") as raised:
        await cache.ensure_exported(local, tmp_path / "cache")
    assert str(tmp_path) not in raised.value.message


async def test_ensure_exported_remote_model_is_found_by_its_id(
    exporter: FakeExporter, tmp_path: Path
) -> None:
    first = await cache.ensure_exported(REMOTE, tmp_path)
    assert await cache.ensure_exported(REMOTE, tmp_path) == first
    namesake = ModelSource("acme-remote", None)
    assert namesake.slug == REMOTE.slug
    await cache.ensure_exported(namesake, tmp_path)
    assert exporter.runs == [REMOTE, namesake]


async def test_discard_removes_the_entry(exporter: FakeExporter, tmp_path: Path) -> None:
    cache.discard(await cache.ensure_exported(REMOTE, tmp_path))
    assert visible(tmp_path) == []


@pytest.fixture
def substitute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes the export process a shell script."""

    def install(script: str) -> None:
        path = tmp_path / "interpreter"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(cache.sys, "executable", str(path))

    return install


async def test_export_process_of_a_local_model_is_offline(
    substitute: Callable[[str], None], local: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    substitute('echo "$@"; env; exit 7')
    status, printed = await cache._run_exporter(local, tmp_path)
    assert status == 7
    assert "HF_HUB_OFFLINE=1" in printed.splitlines()
    assert f"--load {local.folder}" in printed
    _, printed = await cache._run_exporter(REMOTE, tmp_path)
    assert "HF_HUB_OFFLINE" not in printed


async def test_ensure_exported_cancelled_kills_the_process_and_leaves_nothing(
    substitute: Callable[[str], None], local: ModelSource, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    os.mkfifo(mark)
    substitute(f'echo $$ > "{mark}"; exec sleep 600')
    task = asyncio.create_task(cache.ensure_exported(local, tmp_path / "cache"))
    pid = int(await asyncio.to_thread(mark.read_text))  # the pipe blocks until the process writes
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid}").exists()
    assert visible(tmp_path / "cache") == []
