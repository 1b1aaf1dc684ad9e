"""What an archive may unpack to."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 1 << 30
MAX_DEPTH = 2
"""Archives around a file: an archive may lie in an archive, and no deeper."""


@dataclass(frozen=True, slots=True)
class ArchiveBudget:
    """The share of an archive in what the outermost archive around it may unpack to."""

    depth: int = 1
    """1 for an archive that was handed in, 2 for one that lies in it."""
    max_entries: int = MAX_ENTRIES
    max_bytes: int = MAX_UNPACKED_BYTES
    """Of all files together, unpacked."""

    def share(self, *, entries: int, unpacked_bytes: int, archives: int) -> ArchiveBudget:
        """Return what each of `archives` archives inside may use, once all else is taken off."""
        return ArchiveBudget(
            depth=self.depth + 1,
            max_entries=max(0, self.max_entries - entries) // max(1, archives),
            max_bytes=max(0, self.max_bytes - unpacked_bytes) // max(1, archives),
        )
