from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rag_server.backends.protocols import Embeddings
from rag_server.domain.document import Span
from rag_server.domain.grounding import SUPPORTED_FROM, Fact, FactKind, Grounding, Passage
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable
from rag_server.generation.grounding.calibration import MISSING_FACT_SCORE
from rag_server.generation.grounding.judge import Judge
from rag_server.testing.fakes import HashEmbedder

TOWER = "The tower was built by Gustave Eiffel. It opened in 1889 and is 330 metres tall."
BREAD = "Rye bread needs a long fermentation. Nobody says that the bridge over the river is safe today."
PASSAGES = [Passage(0, TOWER), Passage(1, BREAD)]


class Entailment:
    """Gives one probability to every pair, and keeps them."""

    name = "acme/nli"

    def __init__(self, probability: float = 0.9, failure: Exception | None = None) -> None:
        self.probability = probability
        self.failure = failure
        self.pairs: list[tuple[str, str]] = []

    async def entails(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        if self.failure:
            raise self.failure
        self.pairs += pairs
        return [self.probability] * len(pairs)


class DownEmbedder(HashEmbedder):
    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        raise Unavailable("EMBEDDER_UNAVAILABLE", "down")


async def judged(text: str, passages: Sequence[Passage] = PASSAGES, language: str = "en") -> Grounding:
    return await Judge(HashEmbedder()).judge(text, passages, language)


def facts_missing(grounding: Grounding) -> list[Fact]:
    return [fact for sentence in grounding.sentences for fact in sentence.missing_facts]


@pytest.mark.parametrize(
    "text",
    [
        "Rye bread needs a long fermentation.",
        "rye bread   needs a long fermentation",
        "The tower was built by Gustave Eiffel. It opened in 1889 and is 330 metres tall.",
    ],
)
async def test_quote_is_supported_for_sure_even_without_the_embedder(text: str) -> None:
    grounding = await Judge(DownEmbedder()).judge(text, PASSAGES, "en")
    assert (grounding.score, grounding.supported_share) == (1.0, 1.0)
    for sentence in grounding.sentences:
        (support,) = sentence.supports
        quote = PASSAGES[support.passage_index].text[support.span.start : support.span.end]
        written = text[sentence.span.start : sentence.span.end]
        assert quote.lower().rstrip(".").split() == written.lower().rstrip(".").split()


async def test_part_of_a_sentence_is_no_quote() -> None:
    grounding = await judged("The bridge over the river is safe today.")
    (sentence,) = grounding.sentences
    assert sentence.score is not None
    assert sentence.score < 1.0


async def test_statement_in_similar_words_is_supported_and_points_at_its_place() -> None:
    grounding = await judged("Gustave Eiffel built the tower.")
    (sentence,) = grounding.sentences
    assert sentence.score is not None
    assert sentence.score >= SUPPORTED_FROM
    best = sentence.supports[0]
    assert TOWER[best.span.start : best.span.end] == "The tower was built by Gustave Eiffel."
    assert best.passage_index == 0
    assert not sentence.missing_facts


async def test_statement_of_something_else_is_not_supported() -> None:
    grounding = await judged("Unicorns fly over castles on quiet evenings.")
    assert grounding.score < SUPPORTED_FROM
    assert grounding.supported_share == 0.0


@pytest.mark.parametrize(
    ("text", "kind", "fact"),
    [
        ("It opened in 1899 and is 330 metres tall.", FactKind.NUMBER, "1899"),
        ("The tower was built by Gustave Flaubert.", FactKind.NAME, "Flaubert"),
    ],
)
async def test_changed_number_or_name_caps_the_score_and_is_told(
    text: str, kind: FactKind, fact: str
) -> None:
    grounding = await judged(text)
    (sentence,) = grounding.sentences
    assert sentence.score is not None
    assert sentence.score <= MISSING_FACT_SCORE < SUPPORTED_FROM
    (missing,) = sentence.missing_facts
    assert (missing.kind, missing.text, text[missing.span.start : missing.span.end]) == (kind, fact, fact)


async def test_changed_facts_are_found_in_spanish_too() -> None:
    passages = [Passage(0, "La torre fue construida por Gustave Eiffel. Abrió en 1889 y mide 330 metros.")]
    right = await judged("La torre abrió en el año mil ochocientos ochenta y nueve.", passages, "es")
    wrong = await judged("La torre abrió en el año 1899, dijo Eiffel Flaubert.", passages, "es")
    assert facts_missing(right) == []
    assert [each.text for each in facts_missing(wrong)] == ["1899", "Flaubert"]


async def test_names_are_not_compared_across_languages_but_numbers_are() -> None:
    passages = [Passage(0, "The company moved to London and the Thames in 1999, and it is there.")]
    grounding = await judged("La empresa se mudó a Londres y al Támesis en 1998.", passages, "es")
    assert [each.text for each in facts_missing(grounding)] == ["1998"]


async def test_fact_of_another_passage_than_the_supports_is_missing() -> None:
    grounding = await judged("Rye bread needs a long fermentation since 1889.")
    assert [each.text for each in facts_missing(grounding)] == ["1889"]


async def test_fact_of_a_passage_that_overlaps_with_that_of_the_support_is_not_missing() -> None:
    shared = "The tower was built by Gustave Eiffel in the old town."
    passages = [Passage(0, f"It is made of iron. {shared}"), Passage(1, f"{shared} 1889 was its year.")]
    grounding = await judged("The tower was built by Gustave Eiffel in the old town, in 1889.", passages)
    assert facts_missing(grounding) == []


async def test_title_of_a_passage_has_names_as_its_text_does() -> None:
    passages = [Passage(0, "The head office stands above the harbour, in the old town.", "Valparaíso")]
    text = "The head office stands above the harbour in the old town of Valparaíso."
    assert facts_missing(await judged(text, passages)) == []
    untitled = [replace(passages[0], title="")]
    assert [each.text for each in facts_missing(await judged(text, untitled))] == ["Valparaíso"]


async def test_negated_statement_scores_below_its_source() -> None:
    said = "A long fermentation is what rye bread needs."
    denied = "A long fermentation is not what rye bread needs."
    assert (await judged(denied)).score < (await judged(said)).score


async def test_sentence_joined_of_two_is_supported_by_both() -> None:
    text = "Gustave Eiffel built the tower and rye bread needs long fermentation."
    (sentence,) = (await judged(text)).sentences
    assert sentence.score is not None
    assert sentence.score >= SUPPORTED_FROM
    assert {each.passage_index for each in sentence.supports} == {0, 1}


async def test_sentences_that_state_nothing_have_no_score_and_do_not_count() -> None:
    text = "## The Tower of Paris\n\nRye bread needs a long fermentation. Is it Flaubert's? So it is."
    grounding = await judged(text)
    assert [each.score for each in grounding.sentences] == [None, 1.0, None, None]
    assert grounding.score == 1.0


async def test_text_that_states_nothing_scores_nothing() -> None:
    assert (await judged("Is it?")).score == 0.0
    assert (await judged("")).score == 0.0


async def test_markers_are_no_part_of_what_is_said() -> None:
    for text in (
        "Rye bread needs [7] a long fermentation [1, 25].",
        "Rye bread needs [^7] a long fermentation [12-14] 【25】.",
    ):
        (sentence,) = (await judged(text)).sentences
        assert (sentence.span, sentence.missing_facts) == (Span(0, len(text)), ())


async def test_interval_is_no_marker() -> None:
    grounding = await judged("Rye bread needs [0, 25] a long fermentation.")
    assert [each.text for each in facts_missing(grounding)] == ["0", "25"]


async def test_passages_without_a_sentence_support_nothing() -> None:
    for passages in ([], [Passage(0, "---")]):
        grounding = await judged("It opened in 1889.", passages)
        assert grounding.score == 0.0
        assert [each.text for each in facts_missing(grounding)] == ["1889"]


async def test_embedder_that_is_down_is_an_error_not_a_score() -> None:
    with pytest.raises(Unavailable) as raised:
        await Judge(DownEmbedder()).judge("Gustave Eiffel built the tower.", PASSAGES, "en")
    assert raised.value.reason == "EMBEDDER_UNAVAILABLE"


async def test_entailment_model_reads_support_and_sentence_and_gives_the_score() -> None:
    entailment = Entailment(0.875)
    judge = Judge(HashEmbedder(), entailment=entailment)
    grounding = await judge.judge("Gustave Eiffel built the tower.", PASSAGES, "en")
    assert (grounding.score, grounding.model) == (0.875, "acme/nli")
    ((premise, hypothesis),) = entailment.pairs
    assert premise == TOWER
    assert hypothesis == "Gustave Eiffel built the tower."


async def test_entailment_model_is_asked_for_no_quote_and_does_not_lift_a_missing_fact() -> None:
    entailment = Entailment(0.99)
    judge = Judge(HashEmbedder(), entailment=entailment)
    quote = "Rye bread needs a long fermentation."
    grounding = await judge.judge(f"{quote} It opened in 1899 and is 330 metres tall.", PASSAGES, "en")
    assert [each.score for each in grounding.sentences] == [1.0, MISSING_FACT_SCORE]
    assert [hypothesis for _, hypothesis in entailment.pairs] == ["It opened in 1899 and is 330 metres tall."]


async def test_entailment_model_that_is_down_is_an_error_not_a_score() -> None:
    judge = Judge(HashEmbedder(), entailment=Entailment(failure=Unavailable("GROUNDING_UNAVAILABLE", "down")))
    with pytest.raises(Unavailable):
        await judge.judge("Gustave Eiffel built the tower.", PASSAGES, "en")
