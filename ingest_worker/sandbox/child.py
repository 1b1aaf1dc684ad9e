"""A parser process: `python -m ingest_worker.sandbox.child LIMITS PARENT`, started by `process`.

It reads documents from the pipe that was its standard input, one after the other, and writes what became
of each to the pipe that was its standard output. It imports the parsers, the recogniser of scanned pages
and docling where they are asked for, and nothing else: no store, no gRPC.
"""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ingest_worker.parse.page_progress import listen
from ingest_worker.parse.protocol import Parser
from ingest_worker.sandbox.codec import encode, is_encodable
from ingest_worker.sandbox.confine import allow_cpu, confine, die_with
from ingest_worker.sandbox.failures import encode_failure, too_much_output
from ingest_worker.sandbox.frames import PAGES, FrameKind, read_frame, write_frame
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.record_codec import encode_records
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.domain.records import RecordMapping

if TYPE_CHECKING:  # numpy, which a process that reads no scans does without
    from ingest_worker.parse.ocr.scan_reader import ScanReader

ParseFunction = Callable[[bytes, str, str], tuple[MediaType, ParsedDocument]]
"""Takes the bytes, the declared media type and the file name."""
RecordFunction = Callable[[bytes, str, str, RecordMapping], tuple[MediaType, ParsedDocument]]
"""Takes these, and how the rows become records."""

_REPORT_INTERVAL_S = 0.2
_MAX_PAGES = (1 << 32) - 1


def serve(
    parse: ParseFunction,
    read_records: RecordFunction | None = None,
    parse_placed: ParseFunction | None = None,
) -> None:
    """Read documents until the worker closes its end, within the limits of the command line.

    `read_records` reads those that are to be taken row by row, `parse_placed` those whose text is to
    be found on its pages, and `parse` all others.
    """
    limits, parent = ParserLimits.from_json(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    source, sink = _take_pipes()
    confine(limits)
    gc.freeze()  # the parsers stay: to walk them after each document would take longer than most documents
    write_frame(sink, FrameKind.READY, b"")
    while (request := read_frame(source)) is not None and (content := read_frame(source)) is not None:
        known = json.loads(request[1])
        allow_cpu(limits.for_document(content[1]).cpu_s)
        read = parse
        if known.get("records") is not None and read_records is not None:
            read = _with(read_records, RecordMapping.from_json(known["records"]))
        elif known.get("page_boxes") and parse_placed is not None:
            read = parse_placed
        kind, reply = _outcome(read, content[1], known["declared"], known["file_name"], limits, sink)
        del content
        write_frame(sink, kind, reply)
        del reply
        gc.collect()


def _with(read: RecordFunction, mapping: RecordMapping) -> ParseFunction:
    return lambda data, declared, file_name: read(data, declared, file_name, mapping)


def _outcome(
    parse: ParseFunction,
    data: bytes,
    declared: str,
    file_name: str,
    limits: ParserLimits,
    sink: io.FileIO,
) -> tuple[FrameKind, bytes]:
    try:
        with listen(_Pages(sink).report):
            media_type, parsed = parse(data, declared, file_name)
        records = b"" if parsed.records is None else encode_records(parsed.records)
        reply = encode(media_type, parsed) if is_encodable(parsed) else None
    except Exception as error:  # noqa: BLE001 - the boundary: the worker decides what becomes of it
        return FrameKind.FAILURE, encode_failure(error)
    if reply is None or len(reply) + len(records) > limits.output_bytes:
        return FrameKind.FAILURE, encode_failure(too_much_output(limits.output_bytes))
    if records:
        write_frame(sink, FrameKind.RECORDS, records)
    return FrameKind.RESULT, reply


class _Pages:
    """Passes on how many pages are done, a few times a second at most."""

    def __init__(self, sink: io.FileIO) -> None:
        self._sink = sink
        self._next = 0.0

    def report(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_INTERVAL_S
            payload = PAGES.pack(min(done, _MAX_PAGES), min(total, _MAX_PAGES))
            write_frame(self._sink, FrameKind.PAGES, payload)


def _take_pipes() -> tuple[io.BufferedReader, io.FileIO]:
    """Return both pipes, and leave nothing in their places: what a library prints must not get between."""
    source, sink = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    return open(source, "rb"), io.FileIO(sink, "w")  # noqa: PTH123 - open until the process ends


def _scan_readers(ocr_s: float) -> Callable[[], ScanReader] | None:
    """Return what makes the reader of a document's scanned pages; None: there is no time for them."""
    if not ocr_s:
        return None
    from ingest_worker.parse.ocr.rapid import RapidOcrRecogniser
    from ingest_worker.parse.ocr.scan_reader import ScanReader

    recogniser = RapidOcrRecogniser()
    return lambda: ScanReader(recogniser, ocr_s)


def _docling_parsers(media_types: Sequence[str]) -> Sequence[Parser]:
    """Return those that take the place of others; docling is imported where there are any."""
    if not media_types:
        return ()
    from ingest_worker.parse.docling_parser import docling_parsers

    os.environ["PATH"] = ""  # it would try LibreOffice for drawings, and fail: no program starts from here
    return docling_parsers(map(MediaType, media_types))


def main() -> None:
    """Read documents with the parsers of `ingest_worker.parse`, imported here: before the limits hold."""
    from ingest_worker.parse.detect import detect_media_type
    from ingest_worker.parse.pdf import PdfParser
    from ingest_worker.parse.records.read import read_records, table_type
    from ingest_worker.parse.registry import parse_document, parsers_with

    limits = ParserLimits.from_json(sys.argv[1])
    scan_readers = _scan_readers(limits.ocr_s)
    others = _docling_parsers(limits.docling)

    def parse_with(pdf_parser: PdfParser) -> ParseFunction:
        parsers = parsers_with(pdf_parser, *others)

        def parse(data: bytes, declared: str, file_name: str) -> tuple[MediaType, ParsedDocument]:
            media_type = detect_media_type(data, declared, file_name)
            return media_type, parse_document(data, media_type, parsers)

        return parse

    def read(
        data: bytes, declared: str, file_name: str, mapping: RecordMapping
    ) -> tuple[MediaType, ParsedDocument]:
        media_type = table_type(detect_media_type(data, declared, file_name))
        return media_type, read_records(data, media_type, mapping)

    serve(parse_with(PdfParser(scan_readers)), read, parse_with(PdfParser(scan_readers, page_boxes=True)))


if __name__ == "__main__":
    main()
