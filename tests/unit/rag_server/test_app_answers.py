from __future__ import annotations

import importlib.util
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from rag_server.app_answers import answer_settings, keep_answers
from rag_server.config import Settings
from rag_server.errors import FailedPrecondition
from rag_server.generation.asking import Asking

PROVIDER = {"base_url": "http://127.0.0.1:8000/v1", "api_key": "hunter2"}
MODEL = {"provider": "local", "id": "org/small", "window_tokens": 4096}


def digest(*, provider: Any = PROVIDER, model: Any = MODEL, **groups: Any) -> str:
    models = {"providers": {"local": provider}, "models": {"small": model}}
    return answer_settings(Settings.model_validate({"models": models, **groups}))


@pytest.mark.parametrize(
    "other",
    [
        {"provider": PROVIDER | {"base_url": "http://127.0.0.1:8001/v1"}},
        {"model": MODEL | {"id": "org/large"}},
        {"model": MODEL | {"temperature": 0.5}},
        {"model": MODEL | {"extra": {"top_k": 5}}},
        {"embedding": {"model": "other"}},
        {"generation": {"max_quotes": 2}},
        {"filters": {"pii_answer": "redact"}},
    ],
)
def test_server_whose_answers_are_others_has_other_settings(other: dict[str, Any]) -> None:
    assert digest(**other) != digest()


@pytest.mark.parametrize(
    "other",
    [
        {"provider": PROVIDER | {"api_key": "hunter3"}},
        {"embedding": {"threads": 3}},
        {"server": {"port": 50052}},
    ],
)
def test_server_whose_answers_are_the_same_has_the_same_settings(other: dict[str, Any]) -> None:
    assert digest(**other) == digest()


async def test_server_without_the_extra_does_not_start_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    settings = Settings.model_validate({"answers": {"cache_url": "redis://:hunter2@127.0.0.1/0"}})
    async with AsyncExitStack() as stack:
        with pytest.raises(FailedPrecondition) as caught:
            keep_answers(settings, cast("Asking", None), CollectorRegistry(), stack)
    assert caught.value.reason == "EXTRA_NOT_INSTALLED"
    assert caught.value.metadata == {"settings": "RAG_ANSWERS__CACHE_URL", "extra": "redis"}
    assert "hunter2" not in caught.value.message
