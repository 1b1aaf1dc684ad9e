"""Settings of filters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rag_server.config.group import Group

FilterAction = Literal["off", "redact", "refuse"]

PiiKind = Literal["email", "iban", "card", "dni", "nie", "curp", "rfc", "ssn", "ip", "phone"]

Phrase = Annotated[str, Field(min_length=1, max_length=256)]


class FilterSettings(Group):
    """Filters of questions and answers; see docs/filters.md. All are off unless they are set."""

    pii_question: FilterAction = "off"
    """Personal data in questions and histories: `redact` replaces it before it is stored, searched with or
    sent to a model; `refuse` does not answer."""
    pii_answer: FilterAction = "off"
    """Personal data in answers: `redact` replaces it, `refuse` ends the answer before it."""
    pii_sources: Literal["keep", "mask"] = "keep"
    """Personal data in the passages of answers: `mask` hides it from models and from the caller."""
    pii_kinds: tuple[PiiKind, ...] = (
        "email",
        "iban",
        "card",
        "dni",
        "nie",
        "curp",
        "rfc",
        "ssn",
        "ip",
        "phone",
    )
    """What counts as personal data, as JSON: `["email", "phone"]`."""
    blocklist: tuple[Phrase, ...] = ()
    """Words and phrases, as JSON: whole words, whatever their case and accents; at most 8 words each."""
    blocklist_question: FilterAction = "refuse"
    """What becomes of a question or a history with one of them."""
    blocklist_answer: FilterAction = "refuse"
    """What becomes of an answer with one of them."""
    max_question_characters: Annotated[int, Field(ge=1)] | None = None
    """Longer questions are refused; unset: the contract's limit."""
    max_answer_characters: Annotated[int, Field(ge=1)] | None = None
    """Longer answers end there; unset: no limit but that of tokens."""
