from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points

import psutil
import pytest

from rag_server.backends.vllm.engine_process import MARK, prepare
from tests.faults.polling import until

# A process that starts another one, as vLLM does; both wait, the latter once it is prepared.
PROGRAM = """
import multiprocessing, time
from rag_server.backends.vllm.engine_process import prepare

def engine(told):
    prepare()
    told.send(None)
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=engine, args=(there,), daemon=True)
    child.start()
    here.recv()
    print(child.pid, flush=True)
    time.sleep(600)
"""


def started(program: str, environment: dict[str, str]) -> tuple[subprocess.Popen[str], psutil.Process]:
    parent = subprocess.Popen([sys.executable, program], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, psutil.Process(int(parent.stdout.readline()))


@pytest.fixture
def program(tmp_path):  # type: ignore[no-untyped-def]
    path = tmp_path / "parent.py"
    path.write_text(PROGRAM)
    return str(path)


async def test_engine_ends_with_a_server_that_is_killed(program: str) -> None:
    parent, engine = started(program, {**os.environ, MARK: "1"})
    with parent:
        assert os.getpgid(engine.pid) == engine.pid, "Ctrl-C does not reach it"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        await until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_process_of_someone_else_who_uses_vllm_is_left_alone(program: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    parent, engine = started(program, environment)
    with parent:
        try:
            assert os.getpgid(engine.pid) == os.getpgid(parent.pid)
        finally:
            engine.kill()
            parent.kill()


def test_server_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "1")
    group = os.getpgid(0)
    prepare()
    assert os.getpgid(0) == group


def test_vllm_finds_it_among_its_plugins() -> None:
    (found,) = entry_points(group="vllm.general_plugins", name="rag-server")
    assert found.load() is prepare
