"""Who goes first when many wait."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """Lower is sooner: somebody waits for the interactive, nobody for the bulk."""

    INTERACTIVE = 0
    BULK = 1
