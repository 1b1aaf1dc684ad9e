"""Claims with known support, made from questions and answers in the SQuAD format. English and Spanish.

A question with its answer in the place of the question word is a statement in other words than those of the
paragraph: true of it, since people wrote both. Two such statements joined are true as well, by two sentences.
False ones are made of true ones: with another answer of the same paragraph or of another article, with a
number changed, negated, without a negation that they had, or judged by paragraphs that do not say it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rag_server.generation.grounding.negation import negates
from rag_server.text.sentences import split_sentences

SUPPORTED: Final = ("paraphrase", "fragment")
JOINED: Final = "joined"
"""Supported as well; the weights are not fitted on it, since each of its parts is judged by itself."""
FALSE: Final = (
    "elsewhere",
    "other number",
    "changed number",
    "other name",
    "other answer",
    "negated",
    "affirmed",
)

_ARTICLE: Final = 12
"""Paragraphs that a claim is judged by, at most: those of its article."""

_PATTERNS: Final = {
    "en": (
        (r"(?:who|what|which(?: \w+)?|what \w+) ((?:is|was|were|are|has|had|can|could)\b.*)", "{a} {1}"),
        (r"(?:when|where|in (?:what|which) \w+|on what \w+) (?:did|does|do) (.*)", "{1} in {a}"),
        (r"(?:when|where|in (?:what|which) \w+) (was|were|is|are) (.*)", "{2} {1} {a}"),
        (r"how (?:many|much) (.*?) (?:are|is|were|was|did|does|do|has|had|have) (.*)", "{2} {a} {1}"),
        (r"how many (.*)", "{a} {1}"),
        (r"(?:what|which)(?: \w+)? (?:did|does|do) (.*)", "{1} {a}"),
        (r"(?:who|what|which) (.*)", "{a} {1}"),
        (r"(.*?)\b(?:who|whom|what|which|where|when)\b(.*)", "{1}{a}{2}"),
    ),
    "es": (
        (r"(?:quién|quiénes|qué|cuál|cuáles) ((?:es|era|fue|son|eran|fueron|ha|había)\b.*)", "{a} {1}"),
        (r"(?:cuándo|dónde|en qué \w+) (.*)", "{1} en {a}"),
        (r"cuánt[oa]s? (.*)", "{a} {1}"),
        (r"(?:a|con|de|por|para|en) (?:quién|quiénes|qué \w+|qué|cuál) (.*)", "{1} {a}"),
        (r"qué \w+ (.*)", "{a} {1}"),
        (r"(?:quién|quiénes|qué|cuál|cuáles) (.*)", "{a} {1}"),
        (r"(.*?)\b(?:quién|qué|cuál|dónde|cuándo)\b(.*)", "{1}{a}{2}"),
    ),
}  # fmt: skip
_COPULA: Final = {
    "en": re.compile(r"\b(is|was|are|were|can|could|will|has|had|did)\b"),
    "es": re.compile(r"\b(es|era|fue|son|eran|fueron|está|puede|ha|había|tiene|tenía)\b"),
}
_DENIAL: Final = {
    "en": re.compile(
        r"(?:(?<=\bis)|(?<=\bwas)|(?<=\bare)|(?<=\bwere)|(?<=\bcan)|(?<=\bcould)|(?<=\bwill)|(?<=\bhas)"
        r"|(?<=\bhad)|(?<=\bhave)|(?<=\bdid)|(?<=\bdoes)|(?<=\bdo)|(?<=\bwould)|(?<=\bshould)) not\b"
        r"|(?<=\bcan)not\b|\bnever |\bno longer "
    ),
    "es": re.compile(
        r"\bno (?=(?:es|era|fue|son|eran|fueron|está|están|puede|pueden|podía|podían|ha|han|había"
        r"|tiene|tienen|tenía|hay|hubo|se)\b)|\bnunca ",
        re.IGNORECASE,
    ),
}
"""What makes a sentence say the contrary, if it is taken out."""
_DIGITS: Final = re.compile(r"\d+")
_CAPITAL: Final = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class LabelledClaim:
    """A statement and the passages that it is judged by."""

    kind: str
    is_supported: bool
    text: str
    passages: tuple[str, ...]
    article: int


@dataclass(frozen=True, slots=True)
class _Asked:
    paragraph: int
    question: str
    answer: str


def read_claims(path: Path, language: str, seed: int = 7) -> Iterator[LabelledClaim]:
    """Yield the claims of a file; the same ones each time."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    answers = [
        asked["answers"][0]["text"]
        for article in articles
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]
    for number, article in enumerate(articles):
        texts = [paragraph["context"] for paragraph in article["paragraphs"]][:_ARTICLE]
        asked = [
            _Asked(index, each["question"].strip(), each["answers"][0]["text"])
            for index, paragraph in enumerate(article["paragraphs"][:_ARTICLE])
            for each in paragraph["qas"]
        ]
        for each in asked:
            yield from _claims_of(each, asked, answers, texts, number, language, draw)


def statement(question: str, answer: str, language: str) -> str:
    """Return the statement that `answer` makes of `question`."""
    bare = question.strip("¿? ")
    for pattern, form in _PATTERNS[language]:
        match = re.fullmatch(pattern, bare, re.IGNORECASE)
        if match is not None:
            parts = {str(index): group for index, group in enumerate(match.groups(), start=1)}
            text = form.replace("{a}", answer)
            for name, part in parts.items():
                text = text.replace(f"{{{name}}}", part)
            return f"{text[0].upper()}{text[1:].strip()}."
    return f"{bare}: {answer}."


def _claims_of(
    asked: _Asked,
    others: list[_Asked],
    answers: list[str],
    texts: list[str],
    article: int,
    language: str,
    draw: random.Random,
) -> Iterator[LabelledClaim]:
    def claim(kind: str, text: str, passages: list[str] = texts) -> LabelledClaim:
        return LabelledClaim(kind, kind in (*SUPPORTED, JOINED), text, tuple(passages), article)

    true = statement(asked.question, asked.answer, language)
    context = texts[asked.paragraph]
    yield claim("paraphrase", true)
    second = draw.choice(others)
    if second is not asked:
        and_then = statement(second.question, second.answer, language)
        yield claim(JOINED, f"{true[:-1]}{' and ' if language == 'en' else ' y '}{and_then}")
    sentence = _sentence_with(context, asked.answer)
    if sentence is not None:
        fragment = _fragment(sentence, asked.answer)
        if fragment is not None:
            yield claim("fragment", fragment)
        negated = _negated(sentence, language)
        if negated is not None:
            yield claim("negated", negated)
        for clause in dict.fromkeys((sentence, fragment)):
            if clause is not None and _DENIAL[language].search(clause) is not None:
                yield claim("affirmed", _DENIAL[language].sub("", clause, count=1))
    without = [text for index, text in enumerate(texts) if index != asked.paragraph]
    if without and asked.answer not in " ".join(without):
        yield claim("elsewhere", true, without)
    is_number = bool(_DIGITS.search(asked.answer))
    if is_number:
        changed = _DIGITS.sub(
            lambda match: str(int(match.group()) + draw.choice((1, 3, 10))), asked.answer, count=1
        )
        yield claim("changed number", statement(asked.question, changed, language))
    alike = [
        each.answer
        for each in others
        if each.paragraph == asked.paragraph
        and bool(_DIGITS.search(each.answer)) == is_number
        and _is_name(each.answer) == _is_name(asked.answer)
        and each.answer not in asked.question
        and asked.answer not in each.answer
        and each.answer not in asked.answer
    ]
    if alike:
        kind = "other number" if is_number else "other answer"
        yield claim(kind, statement(asked.question, draw.choice(alike), language))
    if _is_name(asked.answer) and not is_number:
        everything = " ".join(texts)
        names = [each for each in draw.sample(answers, 40) if _is_name(each) and each not in everything]
        if names:
            yield claim("other name", statement(asked.question, names[0], language))


def _is_name(text: str) -> bool:
    words = text.split()
    capitals = [word for word in words if _CAPITAL.match(word) and word[0].isupper()]
    return 0 < len(words) <= 4 and len(capitals) * 2 > len(words)


def _sentence_with(context: str, answer: str) -> str | None:
    for span in split_sentences(context):
        if answer in context[span.start : span.end]:
            return context[span.start : span.end]
    return None


def _fragment(sentence: str, answer: str) -> str | None:
    """Return the clauses of a sentence from its start to the one with the answer, if it has more."""
    clauses = re.split(r"(?<=[,;:]) ", sentence)
    for count in range(1, len(clauses)):
        part = " ".join(clauses[:count])
        if answer in part:
            return f"{part.rstrip(',;:')}."
    return None


def _negated(sentence: str, language: str) -> str | None:
    if negates(sentence) or _COPULA[language].search(sentence) is None:
        return None
    form = r"\1 not" if language == "en" else r"no \1"
    return _COPULA[language].sub(form, sentence, count=1)
