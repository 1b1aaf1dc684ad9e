"""Finds the files below the folders that were given, and names the document that each becomes."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragctl.document_ids import document_id_for
from ragctl.output import printable
from ragctl.sources import FileSource

ENDINGS = frozenset(
    {".txt", ".text", ".md", ".markdown", ".mdown", ".rst", ".html", ".htm", ".xhtml", ".pdf"}
)
"""Endings of the files that are taken from a folder; the server decides by content what they are."""


@dataclass(slots=True)
class Discovery:
    """The files that were found and what was passed over."""

    files: list[FileSource] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason (`unsupported ending .docx`, `broken link`...) to count; hidden files are not counted."""


def discover(paths: Sequence[Path], *, any_ending: bool = False) -> Discovery:
    """Return the files at `paths`, those below folders included, in a stable order.

    Hidden files and folders below a folder are passed over, and so are files of other endings unless
    `any_ending`. A file that is itself in `paths` is always taken. Links are followed; a folder that a link
    leads to a second time is not entered again.

    Raises:
        FileNotFoundError: One of `paths` does not exist.
        OSError: One of `paths` cannot be read.
        ValueError: Two different files would become the same document.
    """
    found = Discovery()
    candidates: list[tuple[str, str, Path, int]] = []
    seen_files: set[Path] = set()
    listed: Iterable[tuple[str, str, Path]]
    for given in paths:
        status = given.stat()
        if stat.S_ISDIR(status.st_mode):
            root = _text(given.resolve().name)
            below = _walk(given, found, any_ending=any_ending)
            listed = [(relative, root, path) for relative, path in below]
        elif stat.S_ISREG(status.st_mode):
            listed = [(_text(given.name), "", given)]
        else:
            raise ValueError(f"{_text(str(given))!r} is neither a file nor a folder")
        for relative, root, path in listed:
            resolved = path.resolve()
            if resolved not in seen_files:
                seen_files.add(resolved)
                candidates.append((relative, root, path, path.stat().st_size))
    found.files = _named(candidates)
    return found


def _named(candidates: list[tuple[str, str, Path, int]]) -> list[FileSource]:
    """Return the sources; where two folders hold the same relative path, the folder's name goes before it."""
    counts = Counter(relative for relative, *_ in candidates)
    sources: dict[str, FileSource] = {}
    for relative, root, path, size in candidates:
        label = f"{root}/{relative}" if root and counts[relative] > 1 else relative
        source = FileSource(printable(label), document_id_for(label), path, size)
        other = sources.setdefault(source.document_id, source)
        if other is not source:
            raise ValueError(
                f"{_text(str(other.path))!r} and {_text(str(path))!r} would both become the document "
                f"{source.document_id!r}; ingest them in two calls with an --id, or from a common folder"
            )
    return list(sources.values())


def _walk(root: Path, found: Discovery, *, any_ending: bool) -> Iterator[tuple[str, Path]]:
    """Yield the relative path (with `/`) and path of each file to take below `root`, sorted by name."""
    entered: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in entered:
                found.skipped["folder reached twice through links"] += 1
                continue
            entered.add(identity)
            entries = sorted(folder.iterdir())
        except OSError as error:
            if folder == root:
                raise
            found.skipped[f"unreadable folder ({error.strerror})"] += 1
            continue
        folders: list[Path] = []
        for entry in entries:
            kind = "hidden" if entry.name.startswith(".") else _kind(entry, any_ending=any_ending)
            if kind == "folder":
                folders.append(entry)
            elif kind == "file":
                yield _text(entry.relative_to(root).as_posix()), entry
            elif kind != "hidden":
                found.skipped[kind] += 1
        waiting.extend(reversed(folders))


def _kind(entry: Path, *, any_ending: bool) -> str:
    """Return `folder`, `file`, or why the entry is passed over."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken link" if entry.is_symlink() else "unreadable entry"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return "neither file nor folder"
    ending = entry.suffix.lower()
    if any_ending or ending in ENDINGS:
        return "file"
    return f"unsupported ending {printable(_text(ending))}" if ending else "no ending"


def _text(name: str) -> str:
    """Return a file name as valid Unicode; bytes that are none become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")
