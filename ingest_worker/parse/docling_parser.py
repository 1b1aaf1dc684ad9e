"""`DoclingParser`: office documents, web pages and Markdown as docling reads them (the extra `docling`).

docling's own reader of a format makes its tree of items, which it writes as Markdown; that gives the text
and the blocks. Only readers that need no model are used, and only they are imported: docling's converter
would bring PyTorch and its pipelines with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from types import MappingProxyType
from typing import Any

from ingest_worker.parse import faults
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.markdown import heading_text, markdown_blocks
from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.zip_guard import open_guarded
from rag_server.domain.document import Block, BlockKind, MediaType, ParsedDocument, Span

_MODULES = ("docling", "docling_core", "docx", "pptx", "openpyxl", "bs4", "marko")
_NOT_NEEDED = ("torch", "transformers")
"""What docling imports where it is there: seconds and 200 MB for readers that do not use it."""


@dataclass(frozen=True, slots=True)
class _Format:
    name: str
    """In docling's `InputFormat`."""
    module: str
    reader: str
    is_container: bool = True
    """Whether it is a ZIP file, whose size is bounded before it is unpacked."""
    has_pages: bool = False


_FORMATS: Mapping[MediaType, _Format] = MappingProxyType(
    {
        MediaType.DOCX: _Format("DOCX", "msword_backend", "MsWordDocumentBackend"),
        MediaType.PPTX: _Format(
            "PPTX", "mspowerpoint_backend", "MsPowerpointDocumentBackend", has_pages=True
        ),
        MediaType.XLSX: _Format("XLSX", "msexcel_backend", "MsExcelDocumentBackend"),
        MediaType.HTML: _Format("HTML", "html_backend", "HTMLDocumentBackend", is_container=False),
        MediaType.MARKDOWN: _Format("MD", "md_backend", "MarkdownDocumentBackend", is_container=False),
    }
)


def is_installed() -> bool:
    """Whether the extra `docling` is there; nothing of it is imported."""
    return all(importlib.util.find_spec(name) is not None for name in _MODULES)


def docling_parsers(media_types: Iterable[MediaType]) -> list[Parser]:
    """Return the parsers of these formats. Raises `ImportError` where the extra is missing."""
    return [DoclingParser(media_type) for media_type in media_types]


class DoclingParser:
    """Parser of one of docling's formats; holds no document.

    `parse` raises `InvalidArgument` with reason `DOCLING_FAILED` besides: errors of docling itself look
    like those that strange content causes. Making one raises `ImportError` where the extra is missing,
    and `KeyError` for a format that is not taken over.
    """

    def __init__(self, media_type: MediaType) -> None:
        self._format = _FORMATS[media_type]
        self._media_type = media_type
        self.media_types = frozenset({media_type})
        with _without(_NOT_NEEDED):
            self._not_loaded: type[Exception] = _docling("exceptions").DocumentLoadError
            self._input_document = _docling("datamodel.document").InputDocument
            self._no_reader = _docling("backend.noop_backend").NoOpBackend
            self._input_format = _docling("datamodel.base_models").InputFormat[self._format.name]
            self._reader = getattr(_docling(f"backend.{self._format.module}"), self._format.reader)

    def parse(self, data: bytes) -> ParsedDocument:
        if self._format.is_container:
            open_guarded(data).close()
        try:
            document = self._read(data)
        except RecursionError as error:
            raise faults.corrupt("nests its elements too deeply") from error
        except Exception as error:
            if _is_of_memory(error):
                raise MemoryError from error
            if isinstance(error, self._not_loaded):
                raise faults.corrupt("cannot be opened by docling: truncated or damaged") from error
            raise faults.docling_failed(self._media_type, type(error).__name__) from error
        pages = sorted(document.pages) if self._format.has_pages else []
        texts = [(page, _markdown(document, page)) for page in pages or [None]]
        parsed = _joined(texts)
        if not parsed.text:
            raise faults.has_no_text("docling found none in it; pictures of text need OCR first")
        return replace(parsed, page_count=max(pages, default=None))

    def _read(self, data: bytes) -> Any:
        """Return docling's tree of items. Raises whatever docling raises."""
        stream = BytesIO(data)
        # the reader that is named here would read the document, too, and keep its errors to itself
        source = self._input_document(
            path_or_stream=stream, format=self._input_format, backend=self._no_reader, filename="document"
        )
        reader = self._reader(source, stream)
        try:
            return reader.convert()
        finally:
            reader.unload()


def _markdown(document: Any, page: int | None) -> str:
    text: str = document.export_to_markdown(
        page_no=page, image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True
    )
    return normalize(text).strip()


def _joined(texts: Iterable[tuple[int | None, str]]) -> ParsedDocument:
    """Return the pages as one document: its title is the first heading. Raises `ResourceExhausted`."""
    pieces: list[str] = []
    blocks: list[Block] = []
    title = ""
    position = 0
    for page, text in texts:
        if not text:
            continue
        require_characters(position + len(text))
        for block in markdown_blocks(text):
            start, end = block.span.start, block.span.end
            if block.kind is BlockKind.HEADING:
                title = title or heading_text(text[start:end])
            blocks.append(replace(block, span=Span(position + start, position + end), page=page))
        pieces.append(text)
        position += len(text) + 2
    return ParsedDocument("\n\n".join(pieces), tuple(blocks), title)


def _docling(module: str) -> Any:
    return importlib.import_module(f"docling.{module}")


@contextmanager
def _without(names: Iterable[str]) -> Iterator[None]:
    """Have modules look missing while others are imported; those that are there already stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python marks them
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory that was refused is behind an error."""
    for _ in range(20):
        if error is None or isinstance(error, MemoryError):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, MemoryError)
