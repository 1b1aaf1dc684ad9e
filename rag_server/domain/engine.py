"""What there is to say of an engine that runs a model in this process's care."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """How an engine fares. Counts of tokens are since its start."""

    running_count: int = 0
    """Answers being written."""
    waiting_count: int = 0
    """Requests that wait for their first step."""
    cache_usage: float = 0.0
    """Share of the memory for keys and values that is in use, 0 to 1."""
    prompt_token_count: int = 0
    """Tokens of prompts that were looked up in the prefix cache."""
    cached_token_count: int = 0
    """Those of them that were found there, and need not be computed again."""
