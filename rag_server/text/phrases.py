"""The words of an answer that abstains."""

from __future__ import annotations

_NO_RELEVANT_CONTENT = {
    "en": "I found nothing in the documents that answers this question.",
    "es": "No encontré nada en los documentos que responda a esta pregunta.",
}
_DEFAULT = "en"


def no_relevant_content(language: str) -> str:
    """Return what an abstention says; English for a BCP 47 code that is neither `es` nor `en`."""
    primary = language.partition("-")[0].lower()
    return _NO_RELEVANT_CONTENT.get(primary, _NO_RELEVANT_CONTENT[_DEFAULT])
