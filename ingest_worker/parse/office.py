"""The parsers of office documents and of delimited files."""

from __future__ import annotations

from ingest_worker.parse.delimited import DelimitedParser
from ingest_worker.parse.doc import DocParser
from ingest_worker.parse.docx import DocxParser
from ingest_worker.parse.msg import MsgParser
from ingest_worker.parse.odt import OdtParser
from ingest_worker.parse.pptx import PptxParser
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.rtf import RtfParser
from ingest_worker.parse.xls import XlsParser
from ingest_worker.parse.xlsx import XlsxParser

OFFICE_PARSERS: tuple[Parser, ...] = (
    DocxParser(),
    PptxParser(),
    XlsxParser(),
    DocParser(),
    XlsParser(),
    MsgParser(),
    OdtParser(),
    RtfParser(),
    DelimitedParser(),
)
