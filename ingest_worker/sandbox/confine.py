"""What a parser process gives up before it reads its first document, in the child.

Everything here is the kernel's to enforce; the worker watches time and memory besides (`process`).
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys

from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.seccomp import refuse_system_calls

_MAX_DESCRIPTORS = 64
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def die_with(parent: int) -> None:
    """Have the kernel kill this process once the one that started it is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before that
        os._exit(0)


def confine(limits: ParserLimits) -> None:
    """Give up memory beyond the limit, files, processes, network, core dumps and privileges, for good.

    `RLIMIT_DATA` counts private writable pages, mapped or not, so that an allocation beyond the limit fails
    where it is made; `RLIMIT_AS` would count the libraries and address space that is only reserved too.
    """
    sys.dont_write_bytecode = True
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS)
    _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    _limit(resource.RLIMIT_CPU, math.ceil(limits.documents_per_process * (limits.cpu_s + limits.ocr_s + 1)))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if not refuse_system_calls():
        _limit(resource.RLIMIT_NPROC, 0)  # refuses threads too, and nothing to root


def allow_cpu(seconds: float) -> None:
    """Let this process run for `seconds` more of processor time, rounded up; then the kernel kills it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (min(allowed, hard), hard))


def _limit(what: int, value: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    """Call prctl(2), which only Linux has; elsewhere the worker's own watch has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
