"""What the exit code of `ragctl` says.

0    done
1    the server refused the call or failed at it; a job failed; a check of `doctor` failed
2    usage: an option or argument is wrong, nothing was sent
3    `ingest`: some documents failed, the others are in
4    no server answers at the address
5    the deadline (`--timeout`) passed
130  interrupted (Ctrl-C); calls under way were cancelled
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes, stable for scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTLY_FAILED = 3
    UNREACHABLE = 4
    DEADLINE = 5
    INTERRUPTED = 130


EPILOG = (
    "Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 some documents failed; "
    "4 no server answers; 5 deadline passed; 130 interrupted."
)
