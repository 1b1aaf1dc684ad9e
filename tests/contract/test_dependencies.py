"""Dependencies point one way: clients to the stubs, the worker to what it shares with the server."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("domain", "backends", "metadata", "errors", "text", "logs", "concurrency", "failpoints")
"""Parts of the server that the worker stands on."""


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each module that the sources below `folder` import, with the file that does."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                for each in node.names:
                    yield path, each.name
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path, node.module


def offences(folder: str, is_allowed: Callable[[Path, str], bool]) -> list[str]:
    """Return the imports below `folder` that break a rule."""
    found = list(imports(ROOT / folder))
    assert found
    return [
        f"{path.relative_to(ROOT)} imports {module}" for path, module in found if not is_allowed(path, module)
    ]


def test_ragctl_imports_the_stubs_and_nothing_of_the_server() -> None:
    assert offences("clients/cli", lambda path, module: module.split(".")[0] not in PACKAGES) == []


def test_worker_imports_only_the_shared_parts_of_the_server() -> None:
    def is_allowed(path: Path, module: str) -> bool:
        parts = module.split(".")
        if path.name == "__main__.py":  # the entry point only asks the composition root
            return True
        return parts[0] not in {"rag_server", "rag", "ragctl"} or (
            parts[0] == "rag_server" and len(parts) > 1 and parts[1] in SHARED
        )

    assert offences("ingest_worker", is_allowed) == []


def test_server_imports_the_worker_only_where_it_is_composed() -> None:
    def is_allowed(path: Path, module: str) -> bool:
        is_composition = path.name in {"app_ingest.py", "app_worker.py"}
        is_for_tests = path.parent.name == "testing"  # suites of the worker's protocols
        return module.split(".", maxsplit=1)[0] != "ingest_worker" or is_composition or is_for_tests

    assert offences("rag_server", is_allowed) == []


def test_domain_imports_nothing_but_itself() -> None:
    def is_allowed(path: Path, module: str) -> bool:
        return module.split(".", maxsplit=1)[0] not in PACKAGES or module.startswith("rag_server.domain.")

    assert offences("rag_server/domain", is_allowed) == []


@pytest.mark.parametrize("folder", ["assistants", "query", "generation", "ingest", "services"])
def test_business_code_imports_no_adapter(folder: str) -> None:
    def is_allowed(path: Path, module: str) -> bool:
        return not module.startswith("rag_server.backends.") or module == "rag_server.backends.protocols"

    assert offences(f"rag_server/{folder}", is_allowed) == []


@pytest.mark.parametrize("folder", ["assistants", "generation", "ingest", "metadata", "query", "text"])
def test_business_code_knows_nothing_of_the_wire(folder: str) -> None:
    above = ("rag.v1", "rag_server.services", "rag_server.interceptors", "rag_server.app")

    def is_allowed(path: Path, module: str) -> bool:
        return not module.startswith(above)

    assert offences(f"rag_server/{folder}", is_allowed) == []


PACKAGES = {"rag_server", "ingest_worker"}
