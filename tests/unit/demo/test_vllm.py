from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from demo.run import DemoError
from demo.vllm import chosen_model, settings_of
from rag_server.config.answering import ModelsSettings
from rag_server.config.engine import VllmProviderSettings


@pytest.mark.parametrize("on_cpu", [True, False])
def test_settings_are_the_servers_and_make_the_model_the_default(on_cpu: bool) -> None:
    given = settings_of("/srv/tiny", 2048, on_cpu=on_cpu)
    groups = {name.removeprefix("models__"): json.loads(str(value)) for name, value in given.items()}
    models = ModelsSettings.model_validate(groups)
    assert models.models["vllm"].id == "/srv/tiny"
    assert models.aliases["default"] == {"vllm": 1.0}
    provider = models.providers["here"]
    assert isinstance(provider, VllmProviderSettings)
    assert (provider.kv_cache_bytes is not None) is on_cpu


def test_without_a_model_a_tiny_one_is_made_which_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(chosen_model("", tmp_path))
    assert (model / "config.json").is_file()
    assert "see how it runs, not what it says" in capsys.readouterr().out
    assert chosen_model(str(model), tmp_path) == str(model)


@pytest.mark.parametrize("given", [".", "/nowhere/model", "a/b/c"])
def test_folder_without_a_model_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"config\.json"):
        chosen_model(given, tmp_path)


def test_name_of_a_model_is_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert chosen_model("Qwen/Qwen3-0.6B", tmp_path) == "Qwen/Qwen3-0.6B"
    assert os.environ["HF_HUB_OFFLINE"] == "0"
