from __future__ import annotations

import pytest

from rag_server.text.phrases import no_relevant_content


@pytest.mark.parametrize("language", ["es", "es-CL", "ES"])
def test_no_relevant_content_spanish_is_spanish(language: str) -> None:
    assert no_relevant_content(language).startswith("No encontré")


@pytest.mark.parametrize("language", ["en", "", "fr"])
def test_no_relevant_content_otherwise_is_english(language: str) -> None:
    assert no_relevant_content(language).startswith("I found nothing")
