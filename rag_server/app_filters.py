"""The wiring of filters."""

from __future__ import annotations

from rag_server.config.filtering import FilterSettings
from rag_server.domain.policy import Part
from rag_server.errors import FailedPrecondition
from rag_server.generation.filters.blocklist import BlocklistError, BlocklistFilter
from rag_server.generation.filters.counts import FilterCounts
from rag_server.generation.filters.filter import Action, Filter
from rag_server.generation.filters.length import LengthFilter
from rag_server.generation.filters.pii import PiiFilter
from rag_server.generation.filters.screen import Screen

_OFF = "off"


def create_screen(settings: FilterSettings, counts: FilterCounts) -> Screen:
    """Return the filters that the settings turn on.

    Raises `FailedPrecondition` (`BLOCKLIST_UNUSABLE`).
    """
    question: list[Filter] = []
    answer: list[Filter] = []
    if settings.max_question_characters is not None:
        question.append(LengthFilter(settings.max_question_characters))
    if settings.max_answer_characters is not None:
        answer.append(LengthFilter(settings.max_answer_characters))
    said: list[Filter] = []  # in questions and what was said before them
    for action, filters in (
        (settings.blocklist_question, said),
        (settings.blocklist_answer, answer),
    ):
        if settings.blocklist and action != _OFF:
            filters.append(_blocklist(settings, Action(action)))
    for action, filters in ((settings.pii_question, said), (settings.pii_answer, answer)):
        if action != _OFF:
            filters.append(PiiFilter(settings.pii_kinds, Action(action)))
    sources: list[Filter] = [PiiFilter(settings.pii_kinds)] if settings.pii_sources == "mask" else []
    filters_by_part: dict[Part, list[Filter]] = {
        Part.QUESTION: [*question, *said],
        Part.HISTORY: said,
        Part.SOURCES: sources,
        Part.ANSWER: answer,
    }
    return Screen(filters_by_part, counts)


def _blocklist(settings: FilterSettings, action: Action) -> Filter:
    try:
        return BlocklistFilter(settings.blocklist, action)
    except BlocklistError as error:
        raise FailedPrecondition("BLOCKLIST_UNUSABLE", f"`filters.blocklist`: {error}") from error
