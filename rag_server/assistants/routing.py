"""Which assistant fits a question: by keyword, and where that does not tell by example."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rag_server.assistants.examples import Nearest, nearest
from rag_server.assistants.keywords import AnalyzedQuestion, KeywordMatch
from rag_server.assistants.resident import Routable
from rag_server.backends.protocols import Embedder
from rag_server.domain.assistant import Selection
from rag_server.query.fuse.context import is_language_covered
from rag_server.text.language import detect_language


@dataclass(frozen=True, slots=True)
class Route:
    """What routing found."""

    selection: Selection
    """`KEYWORD`, `EXAMPLE` or `NONE`."""
    uid: str = ""
    """Empty: none fits."""
    matched: str = ""
    score: float | None = None
    """See `AssistantChoice`."""


class Router:
    """Finds the assistant for a question.

    Keywords come first, since somebody chose them for just that. The assistant whose keywords cover most
    words of the question gets it; of several that cover as much, the one with the nearest example, and
    without examples the first by id. Where there is no keyword, the nearest example decides, if its cosine
    reaches the threshold.
    """

    def __init__(self, embedder: Embedder, *, min_similarity: float, min_similarity_untrained: float) -> None:
        """`min_similarity_untrained` holds for languages that the embedding model was not trained for."""
        self._embedder = embedder
        self._min_similarity = min_similarity
        self._min_similarity_untrained = min_similarity_untrained

    async def route(self, question: str, assistants: Sequence[Routable]) -> Route:
        """Return the assistant that fits, or none.

        Raises what the embedder raises, where it is needed.
        """
        matches = await asyncio.to_thread(_best_by_keyword, question, assistants)
        if len(matches) == 1:
            return _by_keyword(*matches[0])
        tied = [routable for routable, _ in matches]
        found = await self._nearest(question, tied or assistants)
        if matches:
            return _by_keyword(*matches[found.owner if found else 0])
        if found is None:
            return Route(Selection.NONE)
        if found.similarity < await asyncio.to_thread(self._least, question):
            return Route(Selection.NONE, score=found.similarity)
        chosen = assistants[found.owner]
        return Route(
            Selection.EXAMPLE, chosen.uid, chosen.examples[found.example], min(1.0, found.similarity)
        )

    def _least(self, question: str) -> float:
        """Return the threshold for a question; one whose language is not known has that of any other."""
        is_covered = is_language_covered(detect_language(question), self._embedder.model.languages)
        return self._min_similarity_untrained if is_covered is False else self._min_similarity

    async def _nearest(self, question: str, assistants: Sequence[Routable]) -> Nearest | None:
        if not any(each.examples for each in assistants):
            return None
        vectors = await self._embedder.embed([question])
        return nearest(vectors[0], [each.vectors for each in assistants])


def _best_by_keyword(question: str, assistants: Sequence[Routable]) -> list[tuple[Routable, KeywordMatch]]:
    """Return the assistants whose keywords cover most of the question, as many as there are."""
    analyzed = AnalyzedQuestion(question)
    matches = [(each, each.keywords.match(analyzed)) for each in assistants]
    found = [(each, match) for each, match in matches if match is not None]
    most = max((match.covered for _, match in found), default=0)
    return [(each, match) for each, match in found if match.covered == most]


def _by_keyword(chosen: Routable, match: KeywordMatch) -> Route:
    return Route(Selection.KEYWORD, chosen.uid, match.keyword, match.share)
