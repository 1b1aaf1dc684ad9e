"""What an absent field means."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from rag_server.validation.constraint import Default
from rag_server.validation.rules import FIELD_RULES

_DEFAULTS: dict[tuple[str, str], float] = {
    (message, field): constraint.value
    for message, fields in FIELD_RULES.items()
    for field, constraints in fields.items()
    for constraint in constraints
    if isinstance(constraint, Default)
}


def value_or_default(message: Message, field: str) -> Any:
    """Return the value of `field` where it is set, else the default of the table.

    The result has the field's own type, `int` or `float`. A value of zero that was set counts as
    set.

    Raises:
        KeyError: The table has no default for the field.
        ValueError: The message has no such field.
    """
    if message.HasField(field):
        return getattr(message, field)
    return _DEFAULTS[message.DESCRIPTOR.full_name, field]
