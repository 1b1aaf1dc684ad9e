from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rag_server.app_ingest import create_dry_runner
from rag_server.config import ParserSettings, Settings
from rag_server.errors import FailedPrecondition
from rag_server.testing.fakes import HashEmbedder


def settings(**parser: Any) -> Settings:
    return Settings(parser=ParserSettings(**parser))


async def test_ocr_without_its_extra_refuses_to_start_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)  # as where it is not installed
    async with AsyncExitStack() as stack:
        with pytest.raises(FailedPrecondition, match="extra `ocr`") as caught:
            create_dry_runner(settings(ocr=True), HashEmbedder(), stack)
    assert caught.value.reason == "EXTRA_NOT_INSTALLED"
    assert caught.value.metadata == {"settings": "RAG_PARSER__OCR", "extra": "ocr"}


async def test_docling_without_its_extra_refuses_to_start_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "docling", None)
    async with AsyncExitStack() as stack:
        create_dry_runner(settings(), HashEmbedder(), stack)
        with pytest.raises(FailedPrecondition, match="extra `docling`") as caught:
            create_dry_runner(settings(docling="html"), HashEmbedder(), stack)
    assert caught.value.reason == "EXTRA_NOT_INSTALLED"
    assert caught.value.metadata == {"settings": "RAG_PARSER__DOCLING", "extra": "docling"}


async def test_without_ocr_its_extra_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    async with AsyncExitStack() as stack:
        create_dry_runner(settings(), HashEmbedder(), stack)
