"""The parsers of marked-up text, data, mail and books: what is neither an office format nor a page."""

from __future__ import annotations

from ingest_worker.parse.eml import EmailParser
from ingest_worker.parse.epub import EpubParser
from ingest_worker.parse.ipynb import NotebookParser
from ingest_worker.parse.json import JsonParser
from ingest_worker.parse.jsonl import JsonLinesParser
from ingest_worker.parse.org import OrgParser
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.rst import RstParser
from ingest_worker.parse.xml import XmlParser

TEXTUAL_PARSERS: tuple[Parser, ...] = (
    EpubParser(),
    EmailParser(),
    JsonParser(),
    JsonLinesParser(),
    XmlParser(),
    RstParser(),
    OrgParser(),
    NotebookParser(),
)
"""They hold no state."""
