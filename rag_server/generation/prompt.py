"""The words that a model is given: versioned templates, and sources that cannot leave their place.

A prompt is laid out so that what is alike in many requests comes first: the system's text, then the
history, then the sources and the question. A model server then finds the longest possible prefix in its
cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rag_server.domain.conversation import HistoryMessage, Summary
from rag_server.domain.generation import GenerationRequest, Message, Role
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput
from rag_server.domain.retrieval import ScoredChunk
from rag_server.generation.markers import MARKER, MarkerParser
from rag_server.text.language import detect_language

NO_ANSWER: Final = "NO_RELEVANT_CONTENT"
"""What a model is told to reply when the sources do not answer."""

TEMPLATE: Final = "answer/1"
"""The template in use. One that says something else gets another number."""

_LANGUAGES: Final = ("en", "es")
_DEFAULT_LANGUAGE: Final = "en"
_FOLDER: Final = Path(__file__).parent / "templates"

_TAG: Final = re.compile(r"<(?=\s*/?\s*(?:source|conversation))", re.IGNORECASE)
_CONTROL_TOKEN: Final = re.compile(
    r"<(?=[|｜]|/?s>|[be]os>|</?SYS>>|/?SYS>>|/?(?:start|end)_of_turn>|(?:begin|end)▁of▁)|(?<=[|｜])>"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)
_PARENTHESES: Final = str.maketrans("[]【】", "()()")
_LEFT_OUT: Final = "…"
"""What stands for the question of an answer with which a history begins."""
_LOOKALIKES: Final = {"<": "‹", ">": "›", "[": "⟦"}


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A passage as the template shows it."""

    number: int
    """1-based: what markers call it."""
    title: str
    text: str


def neutralise(text: str) -> str:
    """Return `text` without what could end its place in the prompt, or start a turn of the conversation.

    The signs are replaced by ones that look alike: the words stay readable.
    """
    text = _TAG.sub(_LOOKALIKES["<"], text)
    return _CONTROL_TOKEN.sub(lambda match: _LOOKALIKES[match.group()], text)


def prompt_source(number: int, source: ScoredChunk) -> PromptSource:
    """Return a passage with its context, as data.

    Footnotes such as `[3]` become `(3)`: copied into an answer they would name another source.
    """
    chunks = (*source.context_before, source.chunk, *source.context_after)
    text = "\n".join(without_markers(chunk.text) for chunk in chunks)
    title = " ".join(source.chunk.title.replace('"', "'").split())
    return PromptSource(number, neutralise(title), neutralise(text))


def without_markers(text: str) -> str:
    """Return `text` with parentheses for the brackets of what looks like a marker; code is left alone.

    In a passage that begins or ends within code it is not known what is code: all of it counts as prose.
    """
    parser = MarkerParser()
    found = [*parser.feed(text), *parser.end()]
    if parser.is_in_code:
        return MARKER.sub(lambda match: match.group().translate(_PARENTHESES), text)
    return "".join(
        each if isinstance(each, str) else each.space + each.text.translate(_PARENTHESES) for each in found
    )


def language_of(request: GenerationRequest) -> str:
    """Return the language, of those that templates are in, for a question."""
    language = (request.language or detect_language(request.question)).partition("-")[0].lower()
    return language if language in _LANGUAGES else _DEFAULT_LANGUAGE


def sandbox(folder: Path = _FOLDER) -> ImmutableSandboxedEnvironment:
    """Return what renders templates of `folder`; one that is given less than it names fails."""
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder),
        auto_reload=False,  # they come with the package; a look at the file for each prompt is for nothing
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


class PromptTemplates:
    """Renders prompts, in a sandbox: a template can change nothing and reach nothing."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._environment = sandbox(folder)

    def name(self, request: GenerationRequest) -> str:
        """Return the template's name, version and language for a question."""
        return f"{TEMPLATE}/{language_of(request)}"

    def render(
        self,
        name: str,
        question: str,
        sources: Iterable[PromptSource],
        history: Sequence[HistoryMessage] = (),
        output: OutputFormat | None = None,
        *,
        instructions: str = "",
        summary: Summary | None = None,
    ) -> tuple[Message, ...]:
        """Return the messages: system, history, then sources and question.

        The form of the answer goes with the instructions: it is often the same from question to question.
        Those of an assistant end the system's text: what is alike in all requests stays in front. A summary
        begins the first message of the user: as a message of its own it would break the turns. User and
        assistant take turns, the user first, whatever the history is: many models' templates refuse all else.
        """
        system = (
            self._environment.get_template(f"{name}/system.j2")
            .render(no_answer=NO_ANSWER, output=None if output is None else _described(output))
            .strip()
        )
        if instructions.strip():
            added = self._environment.get_template(f"{name}/instructions.j2").render(
                instructions=neutralise(instructions.strip())
            )
            system = f"{system}\n\n{added.strip()}"
        user = self._environment.get_template(f"{name}/user.j2").render(
            sources=list(sources), question=neutralise(question)
        )
        said = [Message(Role(each.role.value), neutralise(each.text)) for each in history]
        first, *others = _in_turns([*said, Message(Role.USER, user.strip())])
        if summary is not None:
            first = Message(Role.USER, self.render_summary(name, summary) + first.text)
        return (Message(Role.SYSTEM, system), first, *others)

    def render_summary(self, name: str, summary: Summary | None) -> str:
        """Return what a model is told that was said before, up to and with the space after it; may be empty.

        Markers of citations become `(3)`, as in sources.
        """
        if summary is None:
            return ""
        text = neutralise(without_markers(summary.text))
        return self._environment.get_template(f"{name}/summary.j2").render(summary=text).strip() + "\n\n"

    def render_reminder(self, language: str, problem: str) -> str:
        """Return what a model is told whose last answer did not have the form, in a template's language."""
        template = self._environment.get_template(f"{TEMPLATE}/{language}/reminder.j2")
        return template.render(problem=neutralise(problem)).strip()


def _in_turns(messages: Iterable[Message]) -> list[Message]:
    """Return messages of user and assistant by turns, the user first: those of one that follow are joined."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1].role is message.role:
            turns[-1] = Message(message.role, f"{turns[-1].text}\n\n{message.text}")
            continue
        if not turns and message.role is not Role.USER:
            turns.append(Message(Role.USER, _LEFT_OUT))
        turns.append(message)
    return turns


def _described(output: OutputFormat) -> dict[str, object]:
    """Return a form as the template shows it."""
    match output:
        case JsonSchemaOutput(schema):
            return {"kind": "json_schema", "text": neutralise(schema)}
        case RegexOutput(pattern):
            return {"kind": "regex", "text": neutralise(pattern)}
        case ChoiceOutput(choices):
            return {"kind": "choice", "texts": [neutralise(each) for each in choices]}
