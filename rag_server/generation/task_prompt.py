"""The words of small tasks for models: versioned templates of two messages, with data that stays data.

A template is a folder per version and language (`rewrite/1/en`), in which each task has one file for the
system's message, and all of them share `user.j2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rag_server.domain.conversation import HistoryMessage
from rag_server.domain.generation import Message, Role, Sampling
from rag_server.generation.prompt import neutralise, sandbox


@dataclass(frozen=True, slots=True)
class Task:
    """What a model is asked to write."""

    template: str
    """Name and version, such as `expand/1`."""
    name: str
    """The file of the system's message, such as `hyde`."""
    language: str
    """One that the template is in."""
    data: Mapping[str, str]
    """Texts of the request, which are neutralised."""
    max_tokens: int
    numbers: Mapping[str, int] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))


class TaskTemplates:
    """Renders tasks, in the sandbox of the prompts."""

    def __init__(self) -> None:
        self._environment = sandbox()

    def render(self, task: Task) -> tuple[Message, ...]:
        """Return the messages: the system's, then the data."""
        folder = f"{task.template}/{task.language}"
        values = {name: neutralise(text) for name, text in task.data.items()} | dict(task.numbers)
        system = self._environment.get_template(f"{folder}/{task.name}.j2").render(values)
        user = self._environment.get_template(f"{folder}/user.j2").render(values)
        return Message(Role.SYSTEM, system.strip()), Message(Role.USER, user.strip())


def transcript(history: Sequence[HistoryMessage], names: Mapping[str, str]) -> str:
    """Return what was said as lines; `names` has what each role is called."""
    return "\n".join(f"{names[each.role.value]}: {' '.join(each.text.split())}" for each in history)
