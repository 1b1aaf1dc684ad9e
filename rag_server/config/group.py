"""What the groups of settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MEBIBYTE = 1024 * 1024


class Group(BaseModel):
    """Base of the groups: immutable, unknown names refused, descriptions taken from the docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
