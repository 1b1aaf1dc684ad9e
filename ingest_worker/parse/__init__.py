"""Parsing: bytes of one of the supported formats become text with blocks. One format per file."""

from ingest_worker.parse.detect import detect_media_type
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.registry import parse_document

__all__ = ["Parser", "detect_media_type", "parse_document"]
