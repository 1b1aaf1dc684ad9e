from __future__ import annotations

from rag_server.backends.protocols import GeneratorModel, Price
from rag_server.services.wire.model import to_model_alias, to_model_info


def test_model_has_its_window_and_prices() -> None:
    message = to_model_info(GeneratorModel("small", "local", 4096, False, Price(1.5, 0.0)))
    assert (message.name, message.provider, message.window_tokens) == ("small", "local", 4096)
    assert (message.prompt_price, message.answer_price) == (1.5, 0.0)


def test_model_without_window_and_price_has_none() -> None:
    message = to_model_info(GeneratorModel("extractive"))
    assert [field.name for field, _ in message.ListFields()] == ["name"]
    assert not message.HasField("answer_price")


def test_alias_has_its_shares() -> None:
    message = to_model_alias("fast", {"old": 9.0, "new": 1.0})
    assert message.name == "fast"
    assert [(each.model, each.weight) for each in message.shares] == [("old", 9.0), ("new", 1.0)]
