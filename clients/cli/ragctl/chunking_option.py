"""`--chunking`: `tokens[:MAX[:OVERLAP_RATIO]]` or `characters[:MAX[:OVERLAP]]`, with or without `+boxes`."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.v1.chunking_pb2 import CharacterChunking, Chunking, TokenChunking

ChunkingText = Annotated[
    str,
    typer.Option(
        "--chunking",
        metavar="STRATEGY",
        help="How documents are cut: tokens:200:0.2 (max tokens, overlap ratio) or "
        "characters:2000:400 (max characters, overlap); with +boxes at the end, chunks of PDFs tell where on "
        "their pages they stand.",
        show_default=False,
    ),
]

_MAX_PARTS = 3
_BOXES = "+boxes"


def parse_chunking(text: str) -> Chunking | None:
    """Return the chunking that `text` describes, None for the empty text. The server checks the ranges.

    Raises:
        ValueError: It is of neither form.
    """
    if not text:
        return None
    page_boxes = text.endswith(_BOXES)
    strategy, *numbers = text.removesuffix(_BOXES).split(":")
    if len(numbers) < _MAX_PARTS:
        try:
            if strategy == "tokens":
                tokens = TokenChunking()
                if numbers:
                    tokens.max_tokens = int(numbers[0])
                if len(numbers) > 1:
                    tokens.overlap_ratio = float(numbers[1])
                return Chunking(tokens=tokens, page_boxes=page_boxes)
            if strategy == "characters":
                characters = CharacterChunking()
                if numbers:
                    characters.max_characters = int(numbers[0])
                if len(numbers) > 1:
                    characters.overlap_characters = int(numbers[1])
                return Chunking(characters=characters, page_boxes=page_boxes)
        except ValueError as error:
            raise ValueError(f"{text!r}: the numbers of a chunking are as in tokens:200:0.2") from error
    raise ValueError(f"{text!r} is not tokens[:MAX[:RATIO]][+boxes] or characters[:MAX[:OVERLAP]][+boxes]")


def shown(chunking: Chunking) -> str:
    """Return a chunking in the form of the option; empty when it is the default."""
    numbers: list[str] = []
    suffix = _BOXES if chunking.page_boxes else ""
    match chunking.WhichOneof("strategy"):
        case "tokens":
            if chunking.tokens.HasField("max_tokens"):
                numbers.append(str(chunking.tokens.max_tokens))
                if chunking.tokens.HasField("overlap_ratio"):
                    numbers.append(f"{chunking.tokens.overlap_ratio:g}")
            return ":".join(["tokens", *numbers]) + suffix
        case "characters":
            if chunking.characters.HasField("max_characters"):
                numbers.append(str(chunking.characters.max_characters))
                if chunking.characters.HasField("overlap_characters"):
                    numbers.append(str(chunking.characters.overlap_characters))
            return ":".join(["characters", *numbers]) + suffix
        case None:
            return f"tokens{suffix}" if suffix else ""
