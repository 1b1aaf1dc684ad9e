"""CSV and TSV (RFC 4180 and what is called so): one table, or several with lines of text between them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import assemble
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.grid import grid_blocks
from ingest_worker.parse.limits import MAX_CHARACTERS
from ingest_worker.parse.normalize import normalize
from rag_server.domain.document import MediaType, ParsedDocument

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_CHARACTERS = 65_536
_SAMPLE_ROWS = 100
_MAX_QUOTED_LINES = 2_000
"""A cell of more lines is one whose closing quote is missing: the quotes are then text."""


class DelimitedParser:
    """Parser of `text/csv` and `text/tab-separated-values`; the content decides which delimiter it has."""

    media_types = frozenset({MediaType.CSV, MediaType.TSV})

    def parse(self, data: bytes) -> ParsedDocument:
        text = normalize(decode_text(data)).strip("\n")
        return assemble(grid_blocks(read_rows(text)))


def read_rows(text: str) -> Iterator[list[str]]:
    """Yield the rows of `text`, whose line ends are line feeds.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`).
    """
    delimiter = sniff_delimiter(text)
    # The limit is one of the whole process; the default, 128 kB, is less than a column of articles needs.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CHARACTERS))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _closes_its_quotes(text, delimiter) else csv.QUOTE_NONE
    try:
        yield from csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, quoting=quoting)
    except csv.Error as error:
        raise faults.corrupt("is a delimited file that cannot be read: its quotes do not match") from error


def sniff_delimiter(text: str) -> str:
    """Return the delimiter by which most rows at the start of `text` have the same number of cells, over one.

    Between equals a tab, which no prose has, then the one that makes more cells; a comma where there is none.
    """
    sample = text[:_SAMPLE_CHARACTERS]
    if len(sample) < len(text):
        sample = sample[: sample.rfind("\n") + 1] or sample
    scores: list[tuple[float, bool, int, str]] = []
    for delimiter in DELIMITERS:
        rows = _sample_rows(sample, delimiter)
        width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if width > 1:
            scores.append((round(count / len(rows), 1), delimiter == "\t", width, delimiter))
    return max(scores, default=(0.0, False, 0, ","))[-1]


def _sample_rows(sample: str, delimiter: str) -> list[list[str]]:
    try:
        rows = islice(csv.reader(io.StringIO(sample, newline="\n"), delimiter=delimiter), _SAMPLE_ROWS)
        return [row for row in rows if row]
    except csv.Error:
        return []


def _closes_its_quotes(text: str, delimiter: str) -> bool:
    """Whether no cell of `text` runs over so many lines that its closing quote must be missing."""
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter)
    line = 0
    try:
        for _ in reader:
            if reader.line_num - line > _MAX_QUOTED_LINES:
                return False
            line = reader.line_num
    except csv.Error:
        return False
    return True
