from __future__ import annotations

import os
from dataclasses import replace

import pytest

from rag_server.backends.vllm.environment import load_vllm, set_while_starting
from rag_server.backends.vllm.options import ONE_PROCESS, EngineOptions
from rag_server.errors import FailedPrecondition


def test_arguments_leave_out_what_vllm_decides() -> None:
    arguments = EngineOptions("/srv/tiny", 4096).arguments()
    assert (arguments["model"], arguments["max_model_len"]) == ("/srv/tiny", 4096)
    assert not {"quantization", "gpu_memory_utilization", "kv_cache_memory_bytes"} & arguments.keys()
    assert arguments["disable_log_stats"], "nothing goes to the global registry of metrics"


def test_further_arguments_win() -> None:
    options = EngineOptions("/srv/tiny", 4096, memory_share=0.5, further={"seed": 3, "kv_cache_dtype": "fp8"})
    arguments = options.arguments()
    assert (arguments["gpu_memory_utilization"], arguments["seed"], arguments["kv_cache_dtype"]) == (
        0.5,
        3,
        "fp8",
    )


def test_threads_are_bounded_by_variables_of_the_engines_processes_only() -> None:
    variables = EngineOptions("/srv/tiny", 4096, cpu_threads=2).variables()
    assert variables["OMP_NUM_THREADS"] == "2"
    before = dict(os.environ)
    with set_while_starting(variables):
        assert os.environ["OMP_NUM_THREADS"] == "2"
    assert dict(os.environ) == before
    assert "OMP_NUM_THREADS" not in EngineOptions("/srv/tiny", 4096).variables()


def test_given_number_of_threads_takes_no_process_besides_the_engines() -> None:
    bounded = EngineOptions("/srv/tiny", 4096, cpu_threads=1)
    assert bounded.arguments()["distributed_executor_backend"] == ONE_PROCESS
    for shared in (EngineOptions("/srv/tiny", 4096), replace(bounded, tensor_parallel_size=2)):
        assert "distributed_executor_backend" not in shared.arguments()
    chosen = replace(bounded, further={"distributed_executor_backend": "mp"})
    assert chosen.arguments()["distributed_executor_backend"] == "mp"


def test_vllm_that_is_not_installed_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FailedPrecondition) as caught:
        load_vllm()
    assert caught.value.reason == "VLLM_NOT_INSTALLED"
    assert "pip install" in caught.value.message
