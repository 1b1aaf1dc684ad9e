"""Who makes a follow-up question one that can be searched with, as a request asks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoRewriting:
    """Nobody: it is searched with as it was asked."""


@dataclass(frozen=True, slots=True)
class RulesRewriting:
    """Rules, by words of the questions before; see `generation/follow_up.py`."""


@dataclass(frozen=True, slots=True)
class ModelRewriting:
    """A model that writes; see `generation/model_rewriter.py`."""

    model: str = ""
    """Its name or alias; empty: the one that is asked for the answer."""


Rewriting = NoRewriting | RulesRewriting | ModelRewriting
