from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rag_server.data_folder import LOCK_FILE, locked
from rag_server.errors import FailedPrecondition


def test_locked_makes_the_folder_and_gives_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with locked(Path("a/b")) as folder:
        assert folder == tmp_path / "a/b"
        assert folder.is_dir()


def test_locked_twice_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(FailedPrecondition) as caught, locked(tmp_path):
            pass
        assert caught.value.reason == "DATA_DIR_IN_USE"
    with locked(tmp_path):
        pass


def test_locked_by_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom rag_server.data_folder import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n"
        "    print('locked', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(FailedPrecondition), locked(tmp_path):
            pass
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass


def test_locked_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition) as caught, locked(tmp_path / "file" / "data"):
        pass
    assert caught.value.reason == "DATA_DIR_UNUSABLE"


def test_locked_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()  # root may write anywhere: a folder in the file's place stops it, too
    with pytest.raises(FailedPrecondition) as caught, locked(tmp_path):
        pass
    assert caught.value.reason == "DATA_DIR_UNUSABLE"
