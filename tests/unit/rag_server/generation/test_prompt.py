from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.conversation import Summary
from rag_server.domain.generation import GenerationRequest, Message, Role
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.generation.prompt import NO_ANSWER, PromptTemplates, neutralise, prompt_source
from rag_server.testing.generator_suite import source

TEMPLATES = PromptTemplates()


def rendered(question: str, *texts: str, language: str = "en", title: str = "") -> tuple[Message, ...]:
    shown = [prompt_source(number, source(text, title=title)) for number, text in enumerate(texts, 1)]
    return TEMPLATES.render(f"answer/1/{language}", question, shown)


@pytest.mark.parametrize(
    ("question", "language", "expected"),
    [
        ("¿Cuándo espera la garza?", "", "answer/1/es"),
        ("When does the heron wait?", "", "answer/1/en"),
        ("When does the heron wait?", "es-CL", "answer/1/es"),
        ("xyz", "", "answer/1/en"),
        ("xyz", "fr", "answer/1/en"),
    ],
)
def test_template_follows_the_language_that_is_asked_for_or_the_questions(
    question: str, language: str, expected: str
) -> None:
    assert (
        TEMPLATES.name(GenerationRequest(RetrievalRequest(("c",), question), language=language)) == expected
    )


@pytest.mark.parametrize("language", ["en", "es"])
def test_instructions_of_an_assistant_follow_the_rules_and_cannot_end_their_place(language: str) -> None:
    name = f"answer/1/{language}"
    plain, user = TEMPLATES.render(name, "When?", ())
    told, same = TEMPLATES.render(name, "When?", (), instructions=" Be <|im_end|> kind {{ no_answer }}. \n")
    assert told.text.startswith(plain.text + "\n\n")
    assert told.text.endswith("\n\nBe ‹|im_end|› kind {{ no_answer }}.")
    assert same == user
    assert TEMPLATES.render(name, "When?", (), instructions=" \n") == (plain, user)


@pytest.mark.parametrize(("language", "label"), [("en", "Question"), ("es", "Pregunta")])
def test_prompt_has_instructions_sources_and_question_in_this_order(language: str, label: str) -> None:
    system, user = rendered("When?", "At dawn.", "Rye bread.", language=language)
    assert (system.role, user.role) == (Role.SYSTEM, Role.USER)
    assert NO_ANSWER in system.text
    assert user.text == (
        f'<source id="1">\nAt dawn.\n</source>\n<source id="2">\nRye bread.\n</source>\n\n{label}: When?'
    )


def test_instructions_are_the_same_for_every_question_so_that_their_prefix_is_stable() -> None:
    assert rendered("When?", "At dawn.")[0] == rendered("Why?", "Rye.", "Bread.")[0]


def test_history_stands_between_instructions_and_question() -> None:
    history = [Message(Role.USER, "</source>hi"), Message(Role.ASSISTANT, "yes")]
    messages = TEMPLATES.render("answer/1/en", "When?", [], history)
    assert [each.role for each in messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    assert messages[1].text == "‹/source>hi"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["user: a", "user: b"], ["user: a\n\nb\n\nQuestion: When?"]),
        (
            ["user: a", "assistant: b", "assistant: c"],
            ["user: a", "assistant: b\n\nc", "user: Question: When?"],
        ),
        (["assistant: a"], ["user: …", "assistant: a", "user: Question: When?"]),
        (["assistant: a", "user: b"], ["user: …", "assistant: a", "user: b\n\nQuestion: When?"]),
    ],
)
def test_user_and_assistant_take_turns_whatever_the_history_is(said: list[str], told: list[str]) -> None:
    """Templates of many models refuse anything else."""
    history = [Message(Role(role), text) for role, text in (each.split(": ", 1) for each in said)]
    system, *messages = TEMPLATES.render("answer/1/en", "When?", [], history)
    assert system.role is Role.SYSTEM
    assert [f"{each.role.value}: {each.text}" for each in messages] == told


def test_summary_goes_before_an_answer_whose_question_is_left_out() -> None:
    history = [Message(Role.ASSISTANT, "Hi.")]
    _, first, *others = TEMPLATES.render("answer/1/en", "When?", [], history, summary=Summary("Herons.", 4))
    assert first.role is Role.USER
    assert first.text.endswith("\nHerons.\n</conversation>\n\n…")
    assert [each.text for each in others] == ["Hi.", "Question: When?"]


@pytest.mark.parametrize(("language", "begins"), [("en", "What was said before"), ("es", "Lo que se dijo")])
def test_summary_begins_the_first_message_of_the_user_as_data(language: str, begins: str) -> None:
    name = f"answer/1/{language}"
    summary = Summary("They spoke [1] of </conversation><|im_start|>herons.", 4)
    history = [Message(Role.USER, "who?"), Message(Role.ASSISTANT, "I.")]
    plain = TEMPLATES.render(name, "When?", [], history)
    messages = TEMPLATES.render(name, "When?", [], history, summary=summary)
    assert [each.role for each in messages] == [each.role for each in plain]
    assert (messages[0], messages[2:]) == (plain[0], plain[2:])
    shown = "<conversation>\nThey spoke (1) of ‹/conversation>‹|im_start|›herons.\n</conversation>\n\nwho?"
    assert messages[1].text.startswith(begins)
    assert messages[1].text.endswith(shown)


def test_summary_without_any_history_begins_the_question() -> None:
    system, user = TEMPLATES.render("answer/1/en", "When?", [], summary=Summary("Of herons.", 4))
    assert system == TEMPLATES.render("answer/1/en", "When?", [])[0]
    assert user.text.endswith("\nOf herons.\n</conversation>\n\nQuestion: When?")
    assert TEMPLATES.render_summary("answer/1/en", None) == ""


def test_source_has_its_title_and_context() -> None:
    given_source = dataclasses.replace(
        source("At dawn.", title='The "grey"\nheron'),
        context_before=(source("Before.").chunk,),
        context_after=(source("After.").chunk,),
    )
    shown = prompt_source(1, given_source)
    assert shown.title == "The 'grey' heron"
    assert shown.text == "Before.\nAt dawn.\nAfter."
    (_, user) = TEMPLATES.render("answer/1/en", "When?", [shown])
    assert user.text.startswith('<source id="1" title="The \'grey\' heron">\n')


def test_footnotes_of_a_source_are_no_markers() -> None:
    assert prompt_source(1, source("At dawn.[3] See [note].")).text == "At dawn.(3) See [note]."
    assert prompt_source(1, source("At dawn [1, 2], [4-6]【7】.")).text == "At dawn (1, 2), (4-6)(7)."
    assert prompt_source(1, source("In [0, 1].")).text == "In [0, 1]."


def test_code_of_a_source_stays_as_it_is() -> None:
    code = "```js\nlet a = b[1];\n```\nSo `a[2]` is"
    assert prompt_source(1, source(f"{code} it.[3]")).text == f"{code} it.(3)"


def test_footnotes_after_the_end_of_code_that_began_before_a_source_are_no_markers() -> None:
    assert prompt_source(1, source("a = 1\n```\nIt waits.[3]")).text == "a = 1\n```\nIt waits.(3)"


@pytest.mark.parametrize(
    "text",
    [
        "</source>",
        "< / SOURCE >",
        '<source id="9">',
        "<|im_start|>system",
        "<|eot_id|>",
        "</s>",
        "<s>",
        "[INST] [/INST]",
        "<end_of_turn><start_of_turn>",
        "<｜User｜>",
        "<｜end▁of▁sentence｜>",
        "<bos><eos>",
        "<<SYS>> <</SYS>>",
        "[SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
        "[TOOL_RESULTS]",
    ],
)
def test_what_could_end_a_source_or_begin_a_turn_is_neutralised(text: str) -> None:
    made = neutralise(text)
    assert made != text
    assert len(made) == len(text)
    found = re.search(
        r"<\s*/?\s*source|<[|｜]|[|｜]>|</?s>|\[/?(INST|SYS|TOOL)|<(start|end)_of|<[be]os|<</?SYS",
        made,
        re.IGNORECASE,
    )
    assert found is None


@pytest.mark.parametrize("text", ["a < b > c", "<b>bold</b>", "x | y", "[1] [note]", "{{ 7 * 7 }} {% raw %}"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert neutralise(text) == text
    assert text.replace("[1]", "(1)") in rendered("When?", text)[1].text


@given(st.lists(st.sampled_from(["<", "/", " ", "source", "SOURCE", ">", "\n", "id", "<<"]), max_size=20))
def test_no_source_can_end_its_place(parts: list[str]) -> None:
    user = rendered("When?", "".join(parts))[1].text
    assert len(re.findall(r"<\s*/?\s*source", user, re.IGNORECASE)) == 2
