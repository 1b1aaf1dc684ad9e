"""Validation of requests against the constraints that the contract's comments state.

`rules` is the table, `custom` the conditions over several fields, `validator` applies both.
"""

from rag_server.validation.defaults import value_or_default
from rag_server.validation.validator import check, validate

__all__ = ["check", "validate", "value_or_default"]
