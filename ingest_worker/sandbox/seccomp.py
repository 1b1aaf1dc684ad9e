"""System calls that a parser process gives up: network, other programs, other processes (seccomp(2), Linux).

A filter in classic BPF looks at the number of a call and its first argument. It lists what is refused, not
what is allowed: the interpreter and its libraries need too many calls, which differ by version.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW, _RET_ERRNO, _RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD_WORD, _RETURN = 0x20, 0x06
_JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT = 0x15, 0x35, 0x45
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
"""Offsets in `struct seccomp_data`; of an argument, the lower word on a little-endian machine."""
_X32_CALLS = 0x40000000
_CLONE_THREAD = 0x10000
_CLONE3 = 435


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of one architecture: `asm/unistd.h`, and `AUDIT_ARCH` of `linux/audit.h`."""

    audit_arch: int
    refused: tuple[int, ...]
    clone: int
    signals: tuple[int, ...]
    """kill, tkill, tgkill: allowed to the process itself, as abort(3) needs."""
    prlimit: int
    """Allowed for the process itself."""


# io_uring_setup, pidfd_send_signal, pidfd_open, pidfd_getfd, process_madvise: the same everywhere
_COMMON = (425, 424, 434, 438, 440)
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        (
            *(41, 53, 42, 49, 50),  # socket, socketpair, connect, bind, listen
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(101, 310, 311, 129),  # ptrace, process_vm_readv, process_vm_writev, rt_sigqueueinfo
            *(272, 308, 298, 321, 323),  # unshare, setns, perf_event_open, bpf, userfaultfd
            *(250, 248),  # keyctl, add_key
            *_COMMON,
        ),
        clone=56,
        signals=(62, 200, 234),
        prlimit=302,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (
            *(
                198,
                199,
                203,
                200,
                201,
            ),  # the same in the same order, but for fork and vfork, which it has not
            *(221, 281),
            *(117, 270, 271, 138),
            *(97, 268, 241, 280, 282),
            *(219, 217),
            *_COMMON,
        ),
        clone=220,
        signals=(129, 130, 131),
        prlimit=261,
    ),
}


def refuse_system_calls() -> bool:
    """Give up the calls, for good and for every thread to come; answer whether that was possible.

    The process must not be able to gain privileges (`PR_SET_NO_NEW_PRIVS`).
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return False
    program = b"".join(struct.pack("<HBBI", *instruction) for instruction in _program(machine, os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are
    prog = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(prog), 0, 0) == 0)


def _program(machine: _Machine, pid: int) -> list[tuple[int, int, int, int]]:
    """Return the filter: (operation, steps if so, steps if not, value) each."""
    refuse = (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM)
    lines = [
        (_LOAD_WORD, 0, 0, _MACHINE_AT),
        (_JUMP_EQUAL, 1, 0, machine.audit_arch),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, 0, 1, _X32_CALLS),
        refuse,
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS),  # the C library then takes clone, whose flags can be seen
    ]
    for number in machine.refused:
        lines += [(_JUMP_EQUAL, 0, 1, number), refuse]
    conditional = [(machine.clone, _JUMP_ANY_BIT, _CLONE_THREAD), (machine.prlimit, _JUMP_EQUAL, 0)]
    conditional += [(number, _JUMP_EQUAL, pid) for number in machine.signals]
    for number, test, value in conditional:
        lines += [
            (_JUMP_EQUAL, 0, 4, number),
            (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT_AT),
            (test, 0, 1, value),
            (_RETURN, 0, 0, _RET_ALLOW),
            refuse,
        ]
    return [*lines, (_RETURN, 0, 0, _RET_ALLOW)]
