"""The session, over graphs of a few nodes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rag_server.backends.onnx.artifact import CorruptArtifact
from rag_server.backends.onnx.session import EmbeddingSession, RunFailed, RunStopped, Stop


def save(
    path: Path, nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], *outputs: str
) -> Path:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs or ["embedding"]]
    graph = helper.make_graph(nodes, "test", inputs, made, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def echo_graph(path: Path) -> Path:
    """Return a graph that gives the ids times 1000 plus the mask."""
    thousand = helper.make_tensor("thousand", TensorProto.INT64, [], [1000])
    nodes = [
        helper.make_node("Mul", ["input_ids", "thousand"], ["scaled"]),
        helper.make_node("Add", ["scaled", "attention_mask"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["embedding"], to=TensorProto.FLOAT),
    ]
    return save(path, nodes, [thousand])


def division_graph(path: Path) -> Path:
    """Return a graph that gives one over the ids: infinite for id 0."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["one", "float"], ["embedding"]),
    ]
    return save(path, nodes, [one])


def endless_graph(path: Path) -> Path:
    """Return a graph that counts further than any test waits."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["next_condition"]),
            helper.make_node("Add", ["value", "one"], ["next_value"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("next_condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_value", TensorProto.FLOAT, None),
        ],
    )
    initializers = [
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("steps", TensorProto.INT64, [], [2**62]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Loop", ["steps", "yes", "float"], ["embedding"], body=body),
    ]
    return save(path, nodes, initializers)


def load(graph: Path, *, thread_count: int = 1) -> EmbeddingSession:
    return EmbeddingSession(graph, thread_count=thread_count, pad_token_id=9)


def test_run_pads_on_the_right_and_masks_the_padding(tmp_path: Path) -> None:
    vectors = load(echo_graph(tmp_path / "g.onnx")).run([[1, 2, 3], [4]], Stop())
    assert vectors.tolist() == [[1001, 2001, 3001], [4001, 9000, 9000]]
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("thread_count", [1, 2, 3, 8])
def test_run_for_several_callers_gives_what_a_run_for_one_gives(tmp_path: Path, thread_count: int) -> None:
    session = load(echo_graph(tmp_path / "g.onnx"), thread_count=thread_count)
    windows = [[1, 2, 3], [4, 5], [6], [7], [8]]
    alone = session.run(windows, Stop())
    assert session.run(windows, Stop(), is_shared=True).tolist() == alone.tolist()
    assert session.run(windows[:1], Stop(), is_shared=True).tolist() == alone[:1].tolist()


def test_run_for_several_callers_fails_whichever_share_does(tmp_path: Path) -> None:
    session = load(division_graph(tmp_path / "g.onnx"), thread_count=2)
    for windows in ([[1], [0]], [[0], [1]]):
        with pytest.raises(RunFailed, match="finite"):
            session.run(windows, Stop(), is_shared=True)
    assert session.run([[1], [2]], Stop(), is_shared=True).tolist() == [[1.0], [0.5]]


def test_run_for_several_callers_whose_model_is_gone_fails(tmp_path: Path) -> None:
    graph = echo_graph(tmp_path / "g.onnx")
    session = load(graph, thread_count=2)
    graph.unlink()
    with pytest.raises(RunFailed):
        session.run([[1], [2]], Stop(), is_shared=True)
    assert session.run([[1], [2]], Stop()).tolist() == [[1001.0], [2001.0]]


def test_run_not_finite_values_fail(tmp_path: Path) -> None:
    session = load(division_graph(tmp_path / "g.onnx"))
    with pytest.raises(RunFailed, match="finite"):
        session.run([[1, 0]], Stop())
    assert session.run([[2]], Stop()).tolist() == [[0.5]]


def test_run_error_of_the_runtime_fails(tmp_path: Path) -> None:
    table = helper.make_tensor("table", TensorProto.FLOAT, [2, 1], [1.0, 2.0])
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["embedding"])]
    session = load(save(tmp_path / "g.onnx", nodes, [table]))
    with pytest.raises(RunFailed):
        session.run([[7]], Stop())


def test_run_stopped_before_it_starts_raises_stopped(tmp_path: Path) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(RunStopped):
        load(echo_graph(tmp_path / "g.onnx")).run([[1]], stop)


@pytest.mark.parametrize("is_shared", [False, True])
def test_run_stopped_from_another_thread_ends(tmp_path: Path, is_shared: bool) -> None:
    session, stop = load(endless_graph(tmp_path / "g.onnx"), thread_count=2), Stop()
    ended: list[type[BaseException]] = []

    def run() -> None:
        try:
            session.run([[1], [2]], stop, is_shared=is_shared)
        except (RunStopped, RunFailed) as error:
            ended.append(type(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stop.set()
    thread.join(60)
    assert ended == [RunStopped]


def test_run_tokens_gives_unit_vectors_without_the_padding(tmp_path: Path) -> None:
    table = helper.make_tensor("table", TensorProto.FLOAT, [10, 2], [float(i) for i in range(1, 21)])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"]),
        helper.make_node("Cast", ["input_ids"], ["embedding"], to=TensorProto.FLOAT),
    ]
    session = load(save(tmp_path / "g.onnx", nodes, [table], "embedding", "last_hidden_state"))
    long, short = session.run_tokens([[0, 1, 2], [3]], Stop())
    rows = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(long, expected[:3], rtol=1e-6)
    np.testing.assert_allclose(short, expected[3:], rtol=1e-6)
    assert long.dtype == np.float32


def test_run_tokens_graph_without_them_fails(tmp_path: Path) -> None:
    with pytest.raises(RunFailed):
        load(echo_graph(tmp_path / "g.onnx")).run_tokens([[1]], Stop())


@pytest.mark.parametrize("content", [b"", b"not a graph", None])
def test_load_unreadable_graph_is_corrupt(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(CorruptArtifact):
        load(tmp_path / "g.onnx")
