from __future__ import annotations

import pytest

from rag_server.domain.document import Span
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat, RegexOutput
from rag_server.errors import InvalidArgument
from rag_server.generation.output.form import FormError
from rag_server.generation.output.forms import form_of


def same(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("output", "field", "reason"),
    [
        (JsonSchemaOutput("x"), "generation.output.json_schema", "OUTPUT_SCHEMA_INVALID"),
        (RegexOutput("("), "generation.output.regex", "OUTPUT_REGEX_INVALID"),
        (RegexOutput(r"(a)\1"), "generation.output.regex", "OUTPUT_REGEX_INVALID"),
        (RegexOutput("(a{1000}){1000}"), "generation.output.regex", "OUTPUT_REGEX_INVALID"),
    ],
)
def test_form_that_is_none_names_the_field(output: OutputFormat, field: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        form_of(output)
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, field)


def test_regex_matches_the_whole_answer_without_white_space_around_it() -> None:
    form = form_of(RegexOutput(r"\d{4}-\d{2}|ñ+"))
    assert form.accept("2024-05", same) == "2024-05"
    assert form.accept(" ñññ\n", same) == "ñññ"
    assert form.claims("ñññ") == [(Span(0, 3), "ñññ")]
    for wrong in ("2024-05.", "in 2024-05", ""):
        with pytest.raises(FormError):
            form.accept(wrong, same)


def test_regex_that_allows_white_space_keeps_it() -> None:
    assert form_of(RegexOutput(r"\s*a\s*")).accept(" a ", same) == " a "


def test_regex_that_others_would_need_ages_for_is_matched_at_once() -> None:
    with pytest.raises(FormError):
        form_of(RegexOutput("(a+)+")).accept("a" * 100_000 + "b", same)


def test_regex_answer_that_cleaning_breaks_is_none() -> None:
    with pytest.raises(FormError, match="link or markup"):
        form_of(RegexOutput("see .+")).accept("see http://evil", lambda text: text[:4])


@pytest.mark.parametrize("text", ["Yes", "yes", " **YES**.\n", '"yes"'])
def test_choice_is_recognised_whatever_stands_around_it(text: str) -> None:
    form = form_of(ChoiceOutput(("Yes", "No")))
    assert form.accept(text, same) == "Yes"
    assert (form.holds("Yes"), form.holds("yes")) == (True, False)
    assert form.claims("Yes") == []


@pytest.mark.parametrize("text", ["", "Maybe", "Yes, at dawn", "Yes No"])
def test_choice_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FormError):
        form_of(ChoiceOutput(("Yes", "No"))).accept(text, same)
