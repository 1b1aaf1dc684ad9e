from __future__ import annotations

import asyncio

import pytest

from rag_server.testing.document_parser_suite import DocumentParserSuite
from rag_server.testing.in_process_parser import InProcessParser
from tests.documents import pdf


class TestInProcessParser(DocumentParserSuite):
    @pytest.fixture
    def parser(self) -> InProcessParser:
        return InProcessParser()


async def test_in_process_parser_reports_each_page() -> None:
    seen: list[tuple[int, int]] = []
    await InProcessParser().parse(pdf(), on_pages=lambda done, total: seen.append((done, total)))
    await asyncio.sleep(0)
    assert seen == [(1, 2), (2, 2)]
