from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.query.resident import vocabulary as subject
from rag_server.query.resident.vocabulary import Vocabulary
from tests.unit.rag_server.query.resident.lexical_corpora import UNTIMED

# Whatever is no space: lexemes hold letters of any script, marks, signs and even control characters.
terms = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" "), max_size=4)
texts = st.lists(st.lists(terms | st.sampled_from(["a", "b", "ñ"]), max_size=6), max_size=6)


def reference_ids(known: dict[str, int], sequences: list[list[str]]) -> list[list[int]]:
    return [[known.setdefault(term, len(known)) for term in sequence] for sequence in sequences]


def split(offsets: np.ndarray, ids: np.ndarray) -> list[list[int]]:
    return [each.tolist() for each in np.split(ids, offsets[1:-1])] if len(offsets) > 1 else []


@UNTIMED
@given(st.lists(texts, max_size=3), st.integers(1, 8))
def test_vocabulary_ids_are_those_of_a_dictionary_in_order_of_appearance(
    batches: list[list[list[str]]], occurrences_at_a_time: int
) -> None:
    known: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "_BATCH", occurrences_at_a_time)
        vocabulary = Vocabulary()
        for sequences in batches:
            offsets, ids = vocabulary.add_all(sequences)
            assert (offsets.dtype, ids.dtype) == (np.int64, np.int32)
            assert split(offsets, ids) == reference_ids(known, sequences)
    assert vocabulary.terms() == list(known)
    assert len(vocabulary) == len(known)
    assert {term: vocabulary.lookup(term) for term in known} == known


def test_vocabulary_lookup_of_an_unknown_term_is_none_and_learns_nothing() -> None:
    vocabulary = Vocabulary()
    vocabulary.add_all([["known"]])
    assert vocabulary.lookup("unknown") is None
    assert vocabulary.terms() == ["known"]


@UNTIMED
@given(texts)
def test_vocabulary_of_its_terms_is_the_same_and_grows_on(sequences: list[list[str]]) -> None:
    original = Vocabulary()
    original.add_all(sequences)
    loaded = Vocabulary.of(original.terms())
    assert loaded.terms() == original.terms()
    assert loaded.nbytes > 0
    later = [["something", "else"], *sequences]
    assert loaded.add_all(later)[1].tolist() == original.add_all(later)[1].tolist()


def test_vocabulary_of_a_repeated_term_is_refused() -> None:
    with pytest.raises(ValueError, match="two ids"):
        Vocabulary.of(["a", "b", "a"])


def test_vocabulary_term_with_a_space_is_refused_and_nothing_of_it_is_learnt() -> None:
    vocabulary = Vocabulary()
    with pytest.raises(ValueError, match="space"):
        vocabulary.add_all([["fine"], ["not fine"]])
    assert vocabulary.terms() == []


def test_vocabulary_bytes_grow_with_new_terms_only() -> None:
    vocabulary = Vocabulary()
    vocabulary.add_all([[f"term{number}" for number in range(1000)]])
    before = vocabulary.nbytes
    assert before > 1000 * len("term999")
    vocabulary.add_all([["term1", "term2"]])
    assert vocabulary.nbytes == before


def test_vocabulary_read_while_it_grows_answers_the_final_id_or_none() -> None:
    vocabulary = Vocabulary()
    expected = {f"t{number}": number for number in range(20_000)}
    seen: list[tuple[str, int | None]] = []
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            seen.extend((term, vocabulary.lookup(term)) for term in ("t0", "t9999", "t19999"))

    reader = threading.Thread(target=read)
    reader.start()
    names = list(expected)
    for start in range(0, len(names), 500):
        vocabulary.add_all([names[start : start + 500]])
    is_done.set()
    reader.join()
    assert all(number is None or number == expected[term] for term, number in seen)
    assert {term: vocabulary.lookup(term) for term in names} == expected
