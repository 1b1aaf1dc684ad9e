from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from rag_server.backends.vllm.detokenizer import Detokenizer

SPOKEN = "La garza gris espera junto al río: ¿cuándo? Al alba 🐟, naïve – «peces». 東京"
PROMPT = "¿Cuándo espera la garza?"


def byte_level() -> Tokenizer:
    """Return a tokenizer most of whose tokens are bytes: other characters than ASCII have several."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["La garza espera"], trainer)
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Return a tokenizer as those of SentencePiece: what is no letter of its own is written in bytes."""
    tokens = ["<unk>", "<user>", "<assistant>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁algrzs"]
    tokenizer = Tokenizer(
        models.BPE({each: index for index, each in enumerate(tokens)}, [], byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<user>", "<assistant>"])
    return tokenizer


def words(*vocabulary: str, decoder: Any) -> Tokenizer:
    """Return a tokenizer whose tokens are the words of `vocabulary`, by their place."""
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(vocabulary)}, vocabulary[0])
    )
    tokenizer.decoder = decoder
    return tokenizer


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def text_in_pieces(detokenizer: Detokenizer, tokens: Sequence[int], sizes: Iterator[int]) -> str:
    """Return the text of an answer that is cut off after `tokens`, which come in pieces."""
    text, start = "", 0
    while start < len(tokens):
        end = start + next(sizes)
        text += detokenizer.text_of(tokens[start:end], "length" if end >= len(tokens) else None)
        start = end
    return text


def drawn(seed: int) -> Iterator[int]:
    draw = random.Random(seed)  # noqa: S311 - no secret
    while True:
        yield draw.choice((1, 1, 2, 3, 8, 40))


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_fallback()], ids=["level", "fallback"])
@pytest.mark.parametrize("seed", range(20))
def test_text_is_the_same_however_the_tokens_come(tokenizer: Tokenizer, seed: int) -> None:
    prompt, spoken = ids_of(tokenizer, PROMPT), ids_of(tokenizer, SPOKEN)
    one_by_one = text_in_pieces(Detokenizer(tokenizer, prompt), spoken, itertools.repeat(1))
    assert text_in_pieces(Detokenizer(tokenizer, prompt), spoken, drawn(seed)) == one_by_one
    assert one_by_one.lstrip() == SPOKEN


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_fallback()], ids=["level", "fallback"])
@pytest.mark.parametrize("last", range(12))
def test_answer_that_is_cut_off_within_a_character_keeps_what_is_before_it(
    tokenizer: Tokenizer, last: int
) -> None:
    """However many tokens come with the last piece, of which there may be none."""
    tokens = ids_of(tokenizer, "ሰላምለዓለም 🐟")[:-1]
    detokenizer = Detokenizer(tokenizer, [])
    first = len(tokens) - last
    text = detokenizer.text_of(tokens[:first], None) + detokenizer.text_of(tokens[first:], "length")
    assert text.strip() == "ሰላምለዓለም"


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_fallback()], ids=["level", "fallback"])
def test_part_of_a_character_waits_for_the_rest_and_the_text_before_it_does_not(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer, [])
    *before, last = ids_of(tokenizer, "alga 🐟")
    assert detokenizer.text_of(before, None).strip() == "alga"
    assert detokenizer.text_of([last], None) == "🐟"


@pytest.mark.parametrize("question", ["garza", "東京タワー", "🐟🐟🐟", "ሰላም ለዓለም"])
def test_answer_to_a_prompt_whose_end_is_written_in_bytes_has_nothing_of_it(question: str) -> None:
    tokenizer = byte_fallback()
    prompt = [1, *ids_of(tokenizer, question), 2]
    assert Detokenizer(tokenizer, prompt).text_of(ids_of(tokenizer, "garza"), None) == " garza"


def test_token_that_has_ended_the_answer_is_no_part_of_it() -> None:
    tokenizer = byte_level()
    tokens = ids_of(tokenizer, "Al alba.")
    stopped = Detokenizer(tokenizer, [])
    assert stopped.text_of(tokens, "stop") == "Al alba"
    assert stopped.text_of([], "stop") == ""
    cut_off = Detokenizer(tokenizer, [])
    assert cut_off.text_of(tokens, "length") == "Al alba."


def test_special_tokens_are_left_out() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens([AddedToken("<think>")])
    think = tokenizer.token_to_id("<think>")
    detokenizer = Detokenizer(tokenizer, [])
    assert detokenizer.text_of([think, *ids_of(tokenizer, "alba"), think], None) == "alba"


def test_space_at_the_beginning_is_there_after_a_prompt() -> None:
    tokenizer = words("▁At", "▁dawn", decoder=decoders.Metaspace())
    assert Detokenizer(tokenizer, [0]).text_of([1], None) == " dawn"
    assert Detokenizer(tokenizer, []).text_of([1], None) == "dawn"


def test_text_that_its_tokenizer_changes_afterwards_stands_and_goes_on() -> None:
    changing = decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "hello")])
    tokenizer = words("a", "b", "c", decoder=changing)
    assert tokenizer.decode([0, 1, 2]) == "helloc"
    detokenizer = Detokenizer(tokenizer, [])
    assert [detokenizer.text_of([token], None) for token in (0, 1, 2)] == ["a", "b", "c"]


def test_failure_of_the_tokenizer_is_not_passed_over() -> None:
    detokenizer = Detokenizer(byte_level(), [])
    with pytest.raises((OverflowError, TypeError)):
        detokenizer.text_of([-1], None)


def sampling(**others: Any) -> Any:
    return SimpleNamespace(
        **{
            "stop": [],
            "include_stop_str_in_output": False,
            "skip_special_tokens": True,
            "detokenize": True,
            **others,
        }
    )


def test_vllm_leaves_the_text_to_it() -> None:
    asked = sampling()
    wrapped = SimpleNamespace(backend_tokenizer=byte_level())
    assert Detokenizer.instead_of_vllm(wrapped, [], asked) is not None
    assert not asked.detokenize


@pytest.mark.parametrize(
    "others",
    [{"stop": ["."]}, {"include_stop_str_in_output": True}, {"skip_special_tokens": False}],
    ids=str,
)
def test_vllm_keeps_what_it_has_to_look_at(others: dict[str, Any]) -> None:
    asked = sampling(**others)
    wrapped = SimpleNamespace(backend_tokenizer=byte_level())
    assert Detokenizer.instead_of_vllm(wrapped, [], asked) is None
    assert asked.detokenize


def test_vllm_keeps_the_text_of_tokenizers_of_other_libraries() -> None:
    asked = sampling()
    assert Detokenizer.instead_of_vllm(SimpleNamespace(), [], asked) is None
    assert asked.detokenize
