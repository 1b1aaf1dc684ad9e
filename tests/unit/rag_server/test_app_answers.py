from __future__ import annotations

from typing import Any

import pytest

from rag_server.app_answers import answer_settings
from rag_server.config import Settings

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
