"""Settings of the processes that read documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from rag_server.config.group import MEBIBYTE, Group
from rag_server.domain.document import MediaType

_OCR_MEMORY_BYTES = 768 * MEBIBYTE
_DOCLING_MEMORY_BYTES = 512 * MEBIBYTE
_DOCLING_FORMATS = {
    each.name.lower(): each
    for each in (MediaType.DOCX, MediaType.HTML, MediaType.MARKDOWN, MediaType.PPTX, MediaType.XLSX)
}
"""Those whose readers need no model."""


def _docling_names(setting: str) -> list[str]:
    return [name for each in setting.split(",") if (name := each.strip().lower())]


class ParserSettings(Group):
    """The processes that read documents, and what one of them may use."""

    processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Documents read at once, each in a process of its own; started with the first document."""
    cpu_s: Annotated[float, Field(gt=0)] = 30.0
    """Processor time for reading one document, in seconds."""
    wall_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for reading one document, in seconds."""
    memory_bytes: Annotated[int, Field(ge=256 * MEBIBYTE)] = 1024 * MEBIBYTE
    """Memory of one process."""
    output_bytes: Annotated[int, Field(ge=65536, le=2 * 1024**3)] = 256 * MEBIBYTE
    """Largest text and structure that a document may become, in bytes."""
    documents_per_process: Annotated[int, Field(ge=1)] = 100
    """Documents after which a process is replaced by a new one."""
    ocr: bool = False
    """Whether pages of PDFs without a text layer are read by OCR (needs the extra `ocr`, and `memory_bytes`
    of 768 MiB or more)."""
    ocr_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Time for the scanned pages of one PDF, in seconds, beyond `cpu_s` and `wall_s`; those that it does not
    suffice for stay unread."""
    docling: str = ""
    """Formats that docling reads instead, separated by commas: docx, html, markdown, pptx, xlsx (needs the
    extra `docling`, and `memory_bytes` of 512 MiB or more); empty: none."""

    @field_validator("ocr")
    @classmethod
    def _check_memory(cls, ocr: bool, info: ValidationInfo) -> bool:
        if ocr and info.data.get("memory_bytes", _OCR_MEMORY_BYTES) < _OCR_MEMORY_BYTES:
            raise ValueError(f"needs memory_bytes of {_OCR_MEMORY_BYTES} or more")
        return ocr

    @field_validator("docling")
    @classmethod
    def _check_docling(cls, docling: str, info: ValidationInfo) -> str:
        names = _docling_names(docling)
        unknown = [name for name in names if name not in _DOCLING_FORMATS]
        if "pdf" in unknown:
            raise ValueError(
                "PDF is not among the formats: docling needs models for it; PDFs are read as ever"
            )
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(_DOCLING_FORMATS)}")
        if names and info.data.get("memory_bytes", _DOCLING_MEMORY_BYTES) < _DOCLING_MEMORY_BYTES:
            raise ValueError(f"needs memory_bytes of {_DOCLING_MEMORY_BYTES} or more")
        return docling

    @property
    def docling_media_types(self) -> tuple[str, ...]:
        """Media types of the documents that docling reads, in order."""
        return tuple(sorted({_DOCLING_FORMATS[name].value for name in _docling_names(self.docling)}))
