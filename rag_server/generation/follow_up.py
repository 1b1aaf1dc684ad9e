"""Follow-up questions without a model: one that says too little takes over the content words of those before.

"And in Chile?" after "How many days of leave do I have?" is searched with as "And in Chile? days leave". The
words are appended, not put in: word order means little to BM25, and to a mean of token vectors. To resolve a
question by terms of its history is the idea of Voskarides et al., "Query Resolution for Conversational Search
with Limited Supervision", 2020; a model chooses the terms there, rules do here. See `docs/decisions/0025`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Final

from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.text.analyzer import MULTILINGUAL, Analyzer
from rag_server.text.stop_words import word_set

MAX_TERMS_ALONE: Final = 1
"""A question of so many content words says too little in any case."""

MAX_TERMS_REFERRING: Final = 4
"""One that refers to something, or goes on with something, does up to so many: longer ones mostly say what
they refer to."""

MAX_QUESTIONS: Final = 3
"""How far back words are looked for, in questions."""

MAX_WORDS: Final = 12
"""How many words are taken over."""

REFERRING: Final = word_set(
    """
    it its they them their theirs he him his she her hers this that these those
    one ones there same other others another both former latter
    eso esa ese esos esas esto esta este estos estas aquello aquel aquella aquellos aquellas
    ello él ella ellos ellas le les lo su sus suyo suya suyos suyas
    allí alli ahí ahi mismo misma mismos mismas otro otra otros otras ambos ambas
    """
)
"""Words that stand for something that was said. `el`, `la`, `los` and `las` are articles far more often."""

_OPENERS: Final = re.compile(
    r"[\s¿¡\"'(]*(?:and|but|or|also|so|then|what about|how about"
    r"|y|e|pero|o|también|tambien|entonces|además|ademas|qué tal|que tal|qué hay de|que hay de)\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W\d_]+")


class FollowUpWords:
    """Rewrites questions without a model."""

    def __init__(self, analyzer_for: Callable[[str], Analyzer] = Analyzer.for_language) -> None:
        self._analyzer_for = analyzer_for

    async def rewrite(self, question: str, history: Sequence[HistoryMessage], language: str) -> str:
        """Return the question, followed by the words that it takes over."""
        return await asyncio.to_thread(self._rewrite, question, history, language)

    def says_too_little(self, question: str, language: str) -> bool:
        """Whether the question makes sense only after others."""
        count = len(self._content_words(question, language))
        if count <= MAX_TERMS_ALONE:
            return True
        if count > MAX_TERMS_REFERRING:
            return False
        words = (word.lower() for word in _WORD.findall(question))
        return _OPENERS.match(question) is not None or any(word in REFERRING for word in words)

    def _rewrite(self, question: str, history: Sequence[HistoryMessage], language: str) -> str:
        if not self.says_too_little(question, language):
            return question
        known = set(self._content_words(question, language))
        taken: list[str] = []
        earlier = [message.text for message in reversed(history) if message.role is Role.USER]
        for before in earlier[:MAX_QUESTIONS]:
            for lexeme, word in self._content_words(before, language).items():
                if lexeme not in known:
                    known.add(lexeme)
                    taken.append(word)
            if not self.says_too_little(before, language):
                break
        return " ".join([question, *taken[:MAX_WORDS]])

    def _content_words(self, text: str, language: str) -> dict[str, str]:
        """Return lexemes and the words that they come from, in order of the first."""
        words: dict[str, str] = {}
        for token in self._analyzer_for(language or MULTILINGUAL).explain(text):
            if token.lexeme is not None:
                words.setdefault(token.lexeme, token.surface)
        return words
