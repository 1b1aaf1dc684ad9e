from __future__ import annotations

import pytest

from rag_server.domain.record_template import TemplateError, parse_template


def test_columns_are_replaced_by_their_texts_and_doubled_braces_stay() -> None:
    template = parse_template("{{{name}}}: {a b} {name} {{x}}")
    assert template.columns == ("name", "a b")
    assert template.render({"name": "{heron}", "a b": "1"}) == "{{heron}}: 1 {heron} {x}"


def test_column_without_a_text_leaves_its_place_empty() -> None:
    assert parse_template("<{name}>").render({}) == "<>"


def test_attributes_and_formats_are_only_names() -> None:
    assert parse_template("{a.__class__} {a[0]} {a:>9} {a!r}").columns == (
        "a.__class__",
        "a[0]",
        "a:>9",
        "a!r",
    )


@pytest.mark.parametrize(
    ("source", "position"), [("a {b", 2), ("a}", 1), ("{}", 0), ("{ }", 0), ("{a{b}}", 0), ("x {{ }", 5)]
)
def test_malformed_template_is_refused_with_the_place(source: str, position: int) -> None:
    with pytest.raises(TemplateError, match=rf"position {position}\b"):
        parse_template(source)
