"""Settings of engines that run models in the server's care."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from rag_server.config.group import Group


class VllmProviderSettings(Group):
    """vLLM, in processes that the server starts and ends: one engine for each of its models."""

    kind: Literal["vllm"]
    """Its kind."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """In what the model computes; `auto`: as it was published."""
    quantization: str | None = None
    """How weights are kept (`fp8`, `awq`, `gptq`...); unset: as the model says."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs that share each model."""
    memory_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each device's memory for a model and its cache; unset: vLLM's. Several engines on one device
    have to share it."""
    kv_cache_bytes: Annotated[int, Field(ge=1024**2)] | None = None
    """Memory for the keys and values of what is being read and written, instead of what `memory_share`
    leaves; on a CPU there should be one."""
    max_sequences: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Answers that an engine writes at once; unset: vLLM's."""
    prefix_caching: bool = True
    """Whether the beginning that prompts share is computed once."""
    enforce_eager: bool = False
    """Starts sooner and runs slower: nothing is compiled, no CUDA graph is captured."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """Seed of requests that have none."""
    cpu_threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """On a CPU, threads that compute; 0: as many as there are cores, each bound to its own."""
    trust_remote_code: bool = False
    """Whether code that comes with a model may run. It can do whatever the server can."""
    start_timeout_s: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """How long an engine may take to load its model, in seconds."""
    restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """How often in a row an engine that has died is started again; 0: never. It counts anew once the engine
    has lived for ten minutes."""
    engine: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it
    """Further arguments of vLLM's `AsyncEngineArgs`, by its names."""

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        if self.memory_share is not None and self.kv_cache_bytes is not None:
            raise ValueError("has `memory_share` and `kv_cache_bytes`: set one of them")
        return self
