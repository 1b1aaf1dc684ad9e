"""What one parser process may use."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

MEBIBYTE = 1024 * 1024
MAX_OUTPUT_BYTES = 1 << 31
_PDF = b"%PDF-"
_BLANK_BYTES = 1 << 16
_HEADER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits of a parser process: on one document, save for `memory_bytes` and the last."""

    cpu_s: float = 30.0
    """Processor time for a document, in seconds."""
    wall_s: float = 30.0
    """Time for a document from handing it over to having it read, in seconds."""
    memory_bytes: int = 1024 * MEBIBYTE
    """Memory of the process: private pages that it may have mapped, and pages that are resident."""
    output_bytes: int = 256 * MEBIBYTE
    """Size of a parsed document on its way back."""
    documents_per_process: int = 100
    """Documents after which a process is replaced by a new one."""
    ocr_s: float = 0.0
    """Time for the scanned pages of a PDF, in seconds, beyond that for a document; 0: they are not read."""
    docling: tuple[str, ...] = ()
    """Media types of the documents that docling reads in place of the parsers of this project."""

    def __post_init__(self) -> None:
        if min(self.cpu_s, self.wall_s) <= 0 or min(self.memory_bytes, self.documents_per_process) < 1:
            raise ValueError(f"limits have to be positive: {self}")
        if not 0 < self.output_bytes <= MAX_OUTPUT_BYTES:
            raise ValueError(f"output_bytes has to be from 1 to {MAX_OUTPUT_BYTES}")
        if self.ocr_s < 0:
            raise ValueError("ocr_s has to be 0 or more")

    @property
    def grown_bytes(self) -> int:
        """How much a process may have used at its peak and still be used again."""
        return self.memory_bytes // (2 if self.docling else 4)  # docling itself takes 200 MB

    def for_document(self, data: bytes) -> ParserLimits:
        """Return those that hold for a document: what may be a PDF gets the time for scanned pages."""
        if not self.ocr_s or not _may_be_pdf(data):
            return self
        return replace(self, cpu_s=self.cpu_s + self.ocr_s, wall_s=self.wall_s + self.ocr_s)

    def to_json(self) -> str:
        """Return the limits for the command line of a child."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ParserLimits:
        """Return what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "docling": tuple(fields["docling"])})


def _may_be_pdf(data: bytes) -> bool:
    """Whether `data` has a PDF's header where one is seen (`ingest_worker.parse.sniff.binary.is_pdf`)."""
    return _PDF in data[:_HEADER_BYTES] or data[:_BLANK_BYTES].lstrip().startswith(_PDF)
