"""Prints the settings as a Markdown table: `python -m rag_server.config`."""

from __future__ import annotations

from rag_server.config import settings_table

print(settings_table())  # noqa: T201 - the output is what the module is run for
