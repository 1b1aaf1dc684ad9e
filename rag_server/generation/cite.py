"""Turns the raw words of a model into an answer that is safe to show and says where it comes from.

deltas -> clean Markdown -> markers -> sentences -> citations, each right after its sentence
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final

from rag_server.domain.generation import Citation, CitationOrigin, Cited, Delta, Words
from rag_server.generation.attribution import Attributor, SourceSentences, Support
from rag_server.generation.compose import Composed
from rag_server.generation.markdown import MarkdownCleaner
from rag_server.generation.markers import Marker, MarkerParser
from rag_server.generation.sentences import CitedSentence, SentenceCutter
from rag_server.text.language import detect_language

_END: Final = ".!?…"
_CLOSING: Final = "\"'”’»)]"


class Citer:
    """Cites for answers of models that write."""

    def __init__(self, attributor: Attributor) -> None:
        self._attributor = attributor

    async def cite(
        self, words: AsyncGenerator[Words, None], composed: Composed
    ) -> AsyncGenerator[Words, None]:
        """Yield the cleaned deltas with their citations, then what else `words` has."""
        request, sources = composed.prompt.request, composed.prompt.sources
        offered = composed.offered
        draft = _Draft(composed.addresses, offered, keeps_markers=request.keeps_markers)
        known: SourceSentences | None = None
        async with aclosing(words) as events:
            async for event in events:
                pieces = draft.add(event.text) if isinstance(event, Delta) else draft.end()
                for piece in pieces:
                    if isinstance(piece, Delta):
                        yield piece
                        continue
                    if known is None:
                        language = detect_language(request.question)
                        known = await self._attributor.read(sources, offered, language)
                    for cited in await self._citations(known, piece):
                        yield cited
                if not isinstance(event, Delta):
                    yield event

    async def _citations(self, known: SourceSentences, sentence: CitedSentence) -> list[Cited]:
        if sentence.numbers:
            return [
                _cited(
                    sentence,
                    await self._attributor.support_within(known, sentence.text, number - 1),
                    CitationOrigin.MARKER,
                )
                for number in sentence.numbers
            ]
        support = await self._attributor.support(known, sentence.text)
        return [] if support is None else [_cited(sentence, support, CitationOrigin.SIMILARITY)]


def _cited(sentence: CitedSentence, support: Support, origin: CitationOrigin) -> Cited:
    similarity = support.similarity if origin is CitationOrigin.SIMILARITY else None
    return Cited(
        Citation(support.source_index, sentence.span, support.span, support.text, origin, similarity)
    )


def _decided(text: str) -> int:
    """Return the length of `text` without the word that may be the first one of a sentence.

    It follows the end of a line, or of what may be a sentence; the white space after it tells.
    """
    word = "" if text[-1:].isspace() else "".join(text.rsplit(maxsplit=1)[-1:])
    before = text[: len(text) - len(word)]
    body = before.rstrip()
    has_ended = body.rstrip(_CLOSING)[-1:] in _END if body else False
    is_undecided = len(body) < len(before) and (has_ended or "\n" in before[len(body) :])
    return len(body) if is_undecided else len(text)


class _Draft:
    """The text of one answer on its way out."""

    def __init__(self, addresses: frozenset[str], offered: frozenset[int], *, keeps_markers: bool) -> None:
        self._offered = offered
        self._keeps_markers = keeps_markers
        self._cleaner = MarkdownCleaner(addresses)
        self._markers = MarkerParser()
        self._sentences = SentenceCutter()
        self._held = ""
        """What waits until it is known whether a sentence ends before it."""
        self._last = ""
        """The end of what has been told."""
        self._begins_line = False
        """Whether a line has begun with a marker that was taken out: the space after it goes with it."""
        self._sent = 0
        """Code points of the answer that have been told."""

    def add(self, text: str) -> Iterator[Delta | CitedSentence]:
        """Take what the model wrote; yield what the caller gets, and each sentence right after its text."""
        yield from self._out(self._markers.feed(self._cleaner.feed(text)))
        known = self._last + self._held
        yield from self._release(self._sent + _decided(known) - len(self._last))

    def end(self) -> Iterator[Delta | CitedSentence]:
        """Yield the rest: nothing more comes. Once it has been told, there is none."""
        yield from self._out(self._markers.feed(self._cleaner.end()))
        yield from self._out(self._markers.end())
        yield from self._complete(self._sentences.end())
        yield from self._release(self._sent + len(self._held))

    def _out(self, pieces: Iterable[str | Marker]) -> Iterator[Delta | CitedSentence]:
        for piece in pieces:
            if isinstance(piece, str):
                text = piece.lstrip(" ") if self._begins_line else piece
                self._begins_line = self._begins_line and not text
                if text:
                    yield from self._show(text)
                continue
            # A number that no source in the prompt has is the model's invention.
            numbers = tuple(number for number in piece.numbers if number - 1 in self._offered)
            is_shown = bool(numbers) and self._keeps_markers
            self._begins_line = not is_shown and (self._last + self._held)[-1:] in {"", "\n"}
            if is_shown:
                yield from self._show(piece.space)
                marker = f"[{', '.join(map(str, numbers))}]"
                self._held += marker
                self._sentences.add_marker(numbers, len(marker))
            elif numbers:
                self._sentences.add_marker(numbers, 0)

    def _show(self, text: str) -> Iterator[Delta | CitedSentence]:
        self._held += text
        yield from self._complete(self._sentences.add_text(text))

    def _complete(self, sentences: Iterable[CitedSentence]) -> Iterator[Delta | CitedSentence]:
        for sentence in sentences:
            yield from self._release(sentence.span.end)
            yield sentence

    def _release(self, end: int) -> Iterator[Delta]:
        """Yield the answer up to `end`, as far as it has not been told."""
        count = end - self._sent
        if count > 0:
            text, self._held = self._held[:count], self._held[count:]
            self._sent = end
            self._last = (self._last + text)[-2:]
            yield Delta(text)
