"""Settings of assistants."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from rag_server.config.group import Group


class AssistantSettings(Group):
    """Assistants."""

    max_assistants: Annotated[int, Field(ge=1, le=1000)] = 100
    """Assistants that a tenant may have; CreateAssistant refuses more."""
    kept_revisions: Annotated[int, Field(ge=1, le=1000)] = 20
    """Revisions of an assistant that are kept, the present one included."""
    min_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Cosine similarity from which on an example routes a question to its assistant."""
    min_similarity_untrained: Annotated[float, Field(ge=-1, le=1)] = 0.7
    """The same for a question in a language that the embedding model was not trained for: cosines are all
    higher there."""
    resident: Annotated[int, Field(ge=1)] = 1000
    """Assistants of all tenants that routing keeps in memory, at most 55 KB each with MiniLM; no fewer than a
    tenant may have."""

    @model_validator(mode="after")
    def _keeps_those_of_a_tenant(self) -> Self:
        if self.resident < self.max_assistants:
            raise ValueError("resident must be at least max_assistants: routing would begin anew each time")
        return self
