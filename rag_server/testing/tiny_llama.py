"""Makes a model that is small enough for tests and demos: a Llama of two layers, with its tokenizer.

    folder = make_tiny_llama(tmp_path / "tiny", answer="It waits at dawn [1].")

All that a server does with a large one happens here, too: tokens are counted, attention is computed, a
cache is filled. Only the words are of no use. The last token alone decides about the next: the layers add
nothing to the embeddings, and the rows of the output matrix are embeddings, permuted. At temperature 0 the
model says `answer` and stops; at temperature 2 it strays from it, and then babbles as long as it may, since
no way leads back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_SPECIAL: Final = ("<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
BEGIN, END, ASSISTANT = 0, 1, 4
_HIDDEN: Final = 128
_HEADS: Final = 4
_KEY_HEADS: Final = 2
_MIDDLE: Final = 256
_LAYERS: Final = 2
_SHARPNESS: Final = 0.6
"""How far the next token stands out: by some seven, where the others are spread by 0.6. At temperature 2 it
is taken once in thirty times, so that nobody will see the whole answer by chance."""
_BABBLE: Final = 4.0
"""First component of the embeddings of what is not in the answer; in the answer it is 0."""
_NO_WAY_BACK: Final = 10.0
"""How strongly the tokens of the answer, and the end, are kept from following those with that component; and
the end from following any but the last of the answer, which alone has no second component."""

CHAT_TEMPLATE: Final = (
    "<|begin|>{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ANSWER: Final = "It waits at dawn [1]."
_CORPUS: Final = (
    "The grey heron waits by the river at dawn. It eats small fish and frogs.",
    "Rye bread needs a long fermentation. The oven must be very hot.",
    "Answer the question from the sources and name each by its number in square brackets.",
    "Responde a la pregunta con las fuentes y nombra cada una por su número.",
)


def make_tiny_llama(
    folder: Path,
    *,
    answer: str = ANSWER,
    window_tokens: int = 4096,
    seed: int = 0,
    chat_template: str | None = CHAT_TEMPLATE,
) -> Path:
    """Write the model into `folder`, as models are published, and return it.

    Args:
        folder: Made, with its parents.
        answer: What it says; no token may come twice in it.
        window_tokens: Its window.
        seed: Of its random numbers.
        chat_template: How it is told messages; None: it does not say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _trained([*_CORPUS, *[answer] * 4])
    spoken = tokenizer.encode(answer, add_special_tokens=False).ids
    if len(set(spoken)) < len(spoken):
        raise ValueError("the model cannot say the same token twice")
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(window_tokens, chat_template))
    _write_json(folder / "config.json", _config(size, window_tokens))
    _write_json(folder / "generation_config.json", {"bos_token_id": BEGIN, "eos_token_id": END})
    from safetensors.numpy import save_file

    save_file(
        _weights(size, spoken, np.random.default_rng(seed)), folder / "model.safetensors", {"format": "pt"}
    )
    return folder


def _trained(texts: Iterable[str]) -> Any:
    """Return a byte-level BPE tokenizer whose vocabulary comes from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _weights(
    size: int, spoken: Sequence[int], random: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the tensors by name; `spoken` are the tokens that follow each other, and then the end."""
    embeddings = _normal(random, size, _HIDDEN)
    embeddings *= np.sqrt(_HIDDEN) / np.linalg.norm(embeddings, axis=1, keepdims=True)
    path = [ASSISTANT, *spoken, END]
    embeddings[:, 0] = _BABBLE
    embeddings[path[:-1], 0] = 0
    embeddings[:, 1] = _BABBLE
    embeddings[path[-2], 1] = 0
    before = random.permutation(size)  # of each token the one that it follows
    for token, following in pairwise(path):
        other = int(np.flatnonzero(before == token)[0])
        before[other], before[following] = before[following], token
    head = embeddings[before] * np.float32(_SHARPNESS / np.sqrt(_HIDDEN))
    head[:, :2] = 0
    head[path[1:], 0] = -_NO_WAY_BACK
    head[END, 1] = -_NO_WAY_BACK
    tensors = {
        "model.embed_tokens.weight": embeddings,
        "model.norm.weight": np.ones(_HIDDEN, np.float32),
        "lm_head.weight": head,
    }
    keys = _HIDDEN // _HEADS * _KEY_HEADS
    for layer in range(_LAYERS):
        name = f"model.layers.{layer}"
        tensors |= {
            f"{name}.self_attn.q_proj.weight": _normal(random, _HIDDEN, _HIDDEN),
            f"{name}.self_attn.k_proj.weight": _normal(random, keys, _HIDDEN),
            f"{name}.self_attn.v_proj.weight": _normal(random, keys, _HIDDEN),
            f"{name}.self_attn.o_proj.weight": np.zeros((_HIDDEN, _HIDDEN), np.float32),
            f"{name}.mlp.gate_proj.weight": _normal(random, _MIDDLE, _HIDDEN),
            f"{name}.mlp.up_proj.weight": _normal(random, _MIDDLE, _HIDDEN),
            f"{name}.mlp.down_proj.weight": np.zeros((_HIDDEN, _MIDDLE), np.float32),
            f"{name}.input_layernorm.weight": np.ones(_HIDDEN, np.float32),
            f"{name}.post_attention_layernorm.weight": np.ones(_HIDDEN, np.float32),
        }
    return tensors


def _normal(random: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.float32]:
    return random.normal(0, 0.02, (rows, columns)).astype(np.float32)


def _config(size: int, window_tokens: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": _HIDDEN,
        "intermediate_size": _MIDDLE,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KEY_HEADS,
        "max_position_embeddings": window_tokens,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": BEGIN,
        "eos_token_id": END,
    }


def _tokenizer_config(window_tokens: int, chat_template: str | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": window_tokens,
        "bos_token": _SPECIAL[BEGIN],
        "eos_token": _SPECIAL[END],
        "clean_up_tokenization_spaces": False,
    }
    return config if chat_template is None else {**config, "chat_template": chat_template}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
