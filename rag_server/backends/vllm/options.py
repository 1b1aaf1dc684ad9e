"""How vLLM runs one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ONE_PROCESS: Final = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""What has the engine's process compute, too. On a CPU vLLM starts a worker to bind its threads to cores, and
engine and worker poll while they wait for each other, which takes a core that the server may need. A number
of threads that was given is not bound to cores, so that there is nothing to gain by it."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """One engine: one model, on the devices of this machine. None: vLLM decides."""

    model: str
    """Folder of the model, or its name on the Hugging Face hub."""
    window_tokens: int
    """Tokens of prompt and answer together."""
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    """GPUs that share the model."""
    memory_share: float | None = None
    """Of the device's memory, 0 to 1."""
    kv_cache_bytes: int | None = None
    """Memory for the keys and values of what is being read and written; instead of `memory_share`."""
    max_sequences: int | None = None
    """Answers that are written at once; more wait."""
    prefix_caching: bool = True
    enforce_eager: bool = False
    """Starts sooner and runs slower: nothing is compiled, no CUDA graph is captured."""
    seed: int = 0
    cpu_threads: int = 0
    """On a CPU: threads that compute. 0: as many as there are cores, each bound to its own."""
    trust_remote_code: bool = False
    start_timeout_s: float = 600.0
    further: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of vLLM's `AsyncEngineArgs`, by its names."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `AsyncEngineArgs`."""
        given = {
            "model": self.model,
            "max_model_len": self.window_tokens,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "tensor_parallel_size": self.tensor_parallel_size,
            "gpu_memory_utilization": self.memory_share,
            "kv_cache_memory_bytes": self.kv_cache_bytes,
            "max_num_seqs": self.max_sequences,
            "enable_prefix_caching": self.prefix_caching,
            "enforce_eager": self.enforce_eager,
            "seed": self.seed,
            "trust_remote_code": self.trust_remote_code,
            # Its own loggers write to the log and to the global registry of metrics; ours is added to none.
            "disable_log_stats": True,
            "distributed_executor_backend": self._executor(),
        }
        return {**{name: value for name, value in given.items() if value is not None}, **self.further}

    def variables(self) -> dict[str, str]:
        """Return what stands in the environment of the engine's processes only."""
        variables = {"VLLM_ENGINE_READY_TIMEOUT_S": str(round(self.start_timeout_s))}
        if self.cpu_threads:
            variables |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(self.cpu_threads)}
        return variables

    def _executor(self) -> str | None:
        return ONE_PROCESS if self.cpu_threads and self.tensor_parallel_size == 1 else None
