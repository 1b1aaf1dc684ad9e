from __future__ import annotations

import pytest

from rag_server.errors import InvalidArgument
from rag_server.generation.admission import Gate
from rag_server.generation.models import Models, ServedModel
from tests.unit.rag_server.generation.test_pipeline import Script

SERVED = [ServedModel(Script(name=name), Gate(name, permits=1, queue=0)) for name in ("quotes", "old", "new")]


def names(models: Models, name: str) -> list[str]:
    return [each.name for each in models.route(name)]


def test_route_without_a_name_is_the_first_model_or_the_alias_default() -> None:
    assert names(Models(SERVED), "") == ["quotes"]
    assert names(Models(SERVED), "default") == ["quotes"]
    models = Models(SERVED, {"default": {"new": 1.0}})
    assert names(models, "") == names(models, "default") == ["new"]
    assert models.names == ("new", "quotes", "old")


def test_route_by_name_goes_on_to_the_fallbacks_each_once() -> None:
    models = Models(SERVED, fallbacks=("new", "quotes"))
    assert names(models, "old") == ["old", "new", "quotes"]
    assert names(models, "new") == ["new", "quotes"]


@pytest.mark.parametrize(("drawn", "expected"), [(0.0, "old"), (0.89, "old"), (0.91, "new"), (0.9999, "new")])
def test_route_by_alias_shares_requests_by_weight(drawn: float, expected: str) -> None:
    models = Models(SERVED, {"fast": {"old": 9.0, "new": 1.0}}, draw=lambda: drawn)
    assert names(models, "fast") == [expected]


def test_route_of_an_unknown_name_names_the_field_and_the_models() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Models(SERVED, {"fast": {"new": 1.0}}).route("slow")
    assert caught.value.reason == "MODEL_UNKNOWN"
    assert caught.value.metadata == {"models": "default, fast, new, old, quotes"}
    assert caught.value.violations[0].field == "generation.model"


def test_models_and_aliases_are_known_by_name() -> None:
    models = Models(SERVED, {"fast": {"new": 1.0}})
    known = [name for name in ("default", "fast", "new", "slow", "") if models.knows(name)]
    assert known == ["default", "fast", "new"]


async def test_tokens_are_counted_by_the_model_for_the_name() -> None:
    model, counts = await Models(SERVED, {"fast": {"new": 1.0}}).count_tokens("fast", ["a b", ""])
    assert (model.name, counts) == ("new", [2, 0])
    with pytest.raises(InvalidArgument) as caught:
        await Models(SERVED).count_tokens("slow", ["a"])
    assert caught.value.violations[0].field == "model"
