"""A BERT of random weights, small enough to export within a few seconds, in the format of a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = (
    "the",
    "river",
    "house",
    "how",
    "are",
    "chunks",
    "cut",
    "a",
    "warm",
    "quick",
    "brown",
    "fox",
    "x",
    "short",
)
WINDOW = 16
CROSS_WINDOW = 24


@pytest.fixture
def build_model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a sentence-transformers folder and returns its path."""

    def build(*, pooling: str = "mean", normalize: bool = True, dense: bool = False, card: str = "") -> Path:
        import torch
        from transformers import BertModel

        folder = tmp_path / "tiny"
        folder.mkdir()
        torch.manual_seed(7)
        write_tokenizer(folder)
        BertModel(tiny_config()).save_pretrained(folder)
        write(folder / "sentence_bert_config.json", {"max_seq_length": WINDOW, "do_lower_case": False})
        modules = ["Transformer", "Pooling", *["Dense"] * dense, *["Normalize"] * normalize]
        paths = ["", *(f"{index}_{name}" for index, name in enumerate(modules) if index)]
        write(
            folder / "modules.json",
            [
                {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
                for i, (name, path) in enumerate(zip(modules, paths, strict=True))
            ],
        )
        for path in paths[1:]:
            (folder / path).mkdir()
        write(folder / "1_Pooling" / "config.json", {"embedding_dimension": 32, "pooling_mode": pooling})
        if dense:
            from sentence_transformers.base.modules import Dense

            Dense(32, 8).save(str(folder / paths[2]))
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")
        return folder

    return build


@pytest.fixture
def build_cross_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the folder of a cross-encoder of random weights and returns its path."""

    def build(**options: Any) -> Path:
        return write_cross_encoder(tmp_path / "tiny-cross", **options)

    return build


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a cross-encoder that the tests of a module share."""
    return write_cross_encoder(tmp_path_factory.mktemp("shared") / "tiny-cross")


def write_cross_encoder(
    folder: Path,
    *,
    label_count: int = 1,
    architecture: str = "bert",
    has_segments: bool = True,
    labels: tuple[str, ...] = (),
) -> Path:
    import torch
    from transformers import (
        BertForSequenceClassification,
        DistilBertConfig,
        DistilBertForSequenceClassification,
    )

    folder.mkdir()
    torch.manual_seed(11)
    inputs = ["input_ids", *["token_type_ids"] * has_segments, "attention_mask"]
    write_tokenizer(folder, model_max_length=CROSS_WINDOW, model_input_names=inputs)
    if architecture == "bert":
        config = tiny_config()
        config.num_labels = len(labels) or label_count
        if labels:
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: place for place, label in enumerate(labels)}
        BertForSequenceClassification(config).save_pretrained(folder)
        return folder
    small = DistilBertConfig(
        vocab_size=64,
        dim=32,
        n_layers=1,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=32,
        initializer_range=0.5,
        num_labels=label_count,
    )
    DistilBertForSequenceClassification(small).save_pretrained(folder)
    return folder


def tiny_config() -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.5,
    )


def write_tokenizer(folder: Path, **settings: object) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(vocabulary[:5])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    names = {f"{name}_token": token for name, token in special.items()}
    write(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names, **settings}
    )


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
