"""How much memory another process uses, from proc(5); 0 where the system has no such files."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)


def resident_bytes(pid: int) -> int:
    """Return how many bytes of a process are in memory; 0 once it has ended."""
    fields = _read(pid, "statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def peak_bytes(pid: int) -> int:
    """Return how many bytes of a process were in memory at most; 0 once it has ended."""
    found = _PEAK.search(_read(pid, "status"))
    return int(found[1]) * 1024 if found else 0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
