"""The words of answers that abstain, and of those that a filter refuses."""

from __future__ import annotations

from collections.abc import Mapping

_NO_RELEVANT_CONTENT = {
    "en": "I found nothing in the documents that answers this question.",
    "es": "No encontré nada en los documentos que responda a esta pregunta.",
}
_QUESTION_REFUSED = {
    "en": "This question cannot be answered here.",
    "es": "Esta pregunta no se puede responder aquí.",
}
_ANSWER_WITHHELD = {
    "en": "The answer was withheld.",
    "es": "Se ha retenido la respuesta.",
}
_REST_WITHHELD = {
    "en": "The rest of the answer was withheld.",
    "es": "Se ha retenido el resto de la respuesta.",
}
_LOW_GROUNDING = {
    "en": "I found an answer, but the documents do not support it well enough to give it.",
    "es": "Encontré una respuesta, pero los documentos no la respaldan lo suficiente para darla.",
}
_DEFAULT = "en"


def no_relevant_content(language: str) -> str:
    """Return what an abstention says; English for a BCP 47 code that is neither `es` nor `en`."""
    return _of_language(_NO_RELEVANT_CONTENT, language)


def low_grounding(language: str) -> str:
    """Return what stands in the place of an answer that the sources do not bear out."""
    return _of_language(_LOW_GROUNDING, language)


def question_refused(language: str) -> str:
    """Return what is said instead of an answer to a question that a filter refuses."""
    return _of_language(_QUESTION_REFUSED, language)


def answer_withheld(language: str, *, rest: bool) -> str:
    """Return what is said instead of an answer, or of the `rest` of it, that a filter refuses."""
    return _of_language(_REST_WITHHELD if rest else _ANSWER_WITHHELD, language)


def _of_language(phrases: Mapping[str, str], language: str) -> str:
    primary = language.partition("-")[0].lower()
    return phrases.get(primary, phrases[_DEFAULT])
