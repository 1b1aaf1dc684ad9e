from __future__ import annotations

import pytest

from rag_server.backends.extractive import ExtractiveGenerator
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.generator_suite import GeneratorSuite


class TestExtractiveGenerator(GeneratorSuite):
    @pytest.fixture
    async def generator(self) -> ExtractiveGenerator:
        return ExtractiveGenerator(HashEmbedder(), min_confidence=0.0)
