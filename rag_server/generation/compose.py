"""From a question and its sources to what one generator is given, and what that may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rag_server.backends.protocols import MESSAGE_TOKENS, Generator
from rag_server.domain.generation import GenerationRequest, Message, Prompt, PromptReport
from rag_server.domain.retrieval import ScoredChunk
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import InvalidArgument
from rag_server.generation.budget import Room, fit, room_of
from rag_server.generation.cost import CostLimit
from rag_server.generation.markdown import addresses_in
from rag_server.generation.output.form import Form
from rag_server.generation.output.forms import form_of
from rag_server.generation.prompt import PromptSource, PromptTemplates, neutralise, prompt_source
from rag_server.generation.token_counts import TokenCounts

ATTEMPTS: Final = 2
"""How often a model is asked for an answer of a form, at most."""
_INLINE: Final = 500
"""Code points of sources, question and history up to which a prompt is written on the event loop: that takes
a millisecond; in a thread up to 0.4 more, and it holds the interpreter's lock all the same."""
_CHUNK: Final = 30
"""Code points that a passage counts for, however short it is."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What one generator is given."""

    prompt: Prompt
    report: PromptReport | None = None
    """None: it quotes, or it need not be asked since there is no source."""
    form: Form | None = None
    """The form that the answer has to have; None: any."""
    addresses: frozenset[str] = frozenset()
    """What the sources have of addresses: an answer may link to them."""

    @property
    def offered(self) -> frozenset[int]:
        """The indices of the sources that the prompt holds."""
        left_out = frozenset(self.report.left_out_sources) if self.report else frozenset()
        return frozenset(range(len(self.prompt.sources))) - left_out


class Composer:
    """Makes prompts that fit the model's window and the limit of costs."""

    def __init__(self, templates: PromptTemplates, *, max_cost: float | None = None) -> None:
        """`max_cost`: what any answer may cost, in the unit of the models' prices; None: no limit."""
        self._templates = templates
        self._costs = CostLimit(max_cost)
        self._counts = TokenCounts()

    async def compose(
        self,
        generator: Generator,
        request: GenerationRequest,
        sources: tuple[ScoredChunk, ...],
        limit: TimeLimit | None,
    ) -> Composed:
        """Return the prompt for `generator`.

        Raises:
            InvalidArgument: `QUESTION_EXCEEDS_WINDOW`, `COST_LIMIT_EXCEEDED`, or an answer as long as the
            window.
        """
        form = await self.check(generator, request)
        if generator.model.window_tokens is None or not sources:
            return Composed(Prompt(request, sources, limit=limit), form=form)
        if form is None and _length(request, sources) <= _INLINE:
            return self._written(generator, request, sources, limit, form)
        # All of it in one go: each change of threads costs as much as counting a hundred tokens.
        return await asyncio.to_thread(self._written, generator, request, sources, limit, form)

    async def check(self, generator: Generator, request: GenerationRequest) -> Form | None:
        """Return the form that the answer has to have; None: any.

        Raises:
            InvalidArgument: It is none, or the model can only quote (`OUTPUT_NOT_SUPPORTED`).
        """
        if request.output is None:
            return None
        if generator.model.window_tokens is None:
            raise InvalidArgument.for_field(
                "generation.output",
                f"the model {generator.model.name!r} quotes the sources and cannot give its answer a form: "
                "choose a model that writes",
                reason="OUTPUT_NOT_SUPPORTED",
            )
        return await asyncio.to_thread(form_of, request.output)

    def _written(
        self,
        generator: Generator,
        request: GenerationRequest,
        sources: tuple[ScoredChunk, ...],
        limit: TimeLimit | None,
        form: Form | None,
    ) -> Composed:
        """Return the prompt for one that writes."""
        model = generator.model
        assert model.window_tokens is not None
        name = self._templates.name(request)
        shown = [prompt_source(number, source) for number, source in enumerate(sources, 1)]
        room = self._room(generator, request, name, shown)
        while True:
            messages = self._messages(request, name, shown, room)
            total = generator.count_prompt(messages)
            if total + request.max_tokens <= model.window_tokens or room.is_empty:
                break
            # The parts together may have more tokens than each by itself.
            room = room.smaller()
        if not room.sources:
            raise InvalidArgument.for_field(
                "generation.max_answer_tokens",
                f"leaves no room for any source in the window of the model {model.name!r}, which has "
                f"{model.window_tokens} tokens: ask for a shorter answer, less context, or another model",
                reason="QUESTION_EXCEEDS_WINDOW",
            )
        attempts = 1 if form is None else ATTEMPTS
        max_cost = self._costs.check(model, request, total, request.max_tokens, attempts=attempts)
        report = PromptReport(
            token_count=total,
            is_estimated=not model.counts_exactly,
            window_tokens=model.window_tokens,
            left_out_sources=tuple(range(room.sources, len(sources))),
            left_out_message_count=_left_out(request, room),
            template=name,
            max_cost=max_cost,
        )
        return Composed(Prompt(request, sources, messages, limit), report, form, addresses_in(sources))

    def _room(
        self, generator: Generator, request: GenerationRequest, name: str, shown: Sequence[PromptSource]
    ) -> Room:
        bare = self._templates.render(
            name, request.question, (), output=request.output, instructions=request.instructions
        )
        summary = self._templates.render_summary(name, request.summary)
        texts = [
            neutralise(request.question),
            summary,
            *(message.text for message in bare),
            *(message.text for message in request.history),
            *(f"{source.title}\n{source.text}" for source in shown),
        ]
        question, summarised, *others = self._counts.of(generator, texts)
        fixed, others = others[: len(bare)], others[len(bare) :]
        history, costs = others[: len(request.history)], others[len(request.history) :]
        fixed_tokens = sum(fixed) + MESSAGE_TOKENS * len(fixed)
        left = room_of(
            generator.model,
            request.max_tokens,
            fixed_tokens,
            question,
            instructions_field="generation.model" if request.output is None else "generation.output",
        )
        return fit(left, history, costs, summarised if summary else 0)

    def _messages(
        self, request: GenerationRequest, name: str, shown: Sequence[PromptSource], room: Room
    ) -> tuple[Message, ...]:
        return self._templates.render(
            name,
            request.question,
            shown[: room.sources],
            request.history[len(request.history) - room.messages :],
            request.output,
            instructions=request.instructions,
            summary=request.summary if room.has_summary else None,
        )


def _length(request: GenerationRequest, sources: Sequence[ScoredChunk]) -> int:
    """Return about how many code points a prompt has, without the template."""
    chunks = (
        chunk for source in sources for chunk in (*source.context_before, source.chunk, *source.context_after)
    )
    summary = "" if request.summary is None else request.summary.text
    said = (request.question, request.instructions, summary, *(each.text for each in request.history))
    return sum(_CHUNK + len(chunk.title) + len(chunk.text) for chunk in chunks) + sum(map(len, said))


def _left_out(request: GenerationRequest, room: Room) -> int:
    """Return how many messages of the history are in the prompt neither themselves nor in short."""
    summarised = request.summary.message_count if request.summary and not room.has_summary else 0
    return len(request.history) - room.messages + summarised
