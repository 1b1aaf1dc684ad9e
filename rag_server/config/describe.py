"""Settings in words: what is wrong with some, and the table of all."""

from __future__ import annotations

from pydantic import SecretStr, ValidationError

from rag_server.config.group import Group
from rag_server.config.settings import Settings


def describe_invalid(error: ValidationError) -> str:
    """Return what is wrong with the settings, one line per variable, without showing any value."""
    lines = ["wrong settings:"]
    for each in error.errors(include_input=False, include_url=False, include_context=False):
        places = [str(part) for part in each["loc"]]
        if places[:2] == ["models", "providers"]:
            del places[3:4]  # the kind, which pydantic names after the provider
        variable = "RAG_" + "__".join(places).upper()
        lines.append(f"  {variable}: {each['msg']}")
    return "\n".join(lines)


def settings_table() -> str:
    """Return the settings as a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for group_name, group_field in Settings.model_fields.items():
        group = group_field.annotation
        assert isinstance(group, type)
        assert issubclass(group, Group)
        for name, field in group.model_fields.items():
            default = field.default
            if isinstance(default, SecretStr):
                default = default.get_secret_value()
            shown = "unset" if default in ("", None, {}, ()) else f"`{default}`"
            description = " ".join((field.description or "").split())
            rows.append(f"| `RAG_{group_name.upper()}__{name.upper()}` | {shown} | {description} |")
    return "\n".join(rows)
