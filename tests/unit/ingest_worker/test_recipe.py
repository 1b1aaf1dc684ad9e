from __future__ import annotations

from ingest_worker.recipe import recipe_of
from rag_server.domain.collection import CharacterChunking, Chunking, TokenChunking
from rag_server.testing.fakes import HashEmbedder

MODEL = HashEmbedder().model


def test_recipes_differ_by_all_that_shows_in_the_chunks() -> None:
    chunkings: list[Chunking] = [
        TokenChunking(),
        TokenChunking(100),
        CharacterChunking(),
        TokenChunking(page_boxes=True),
        CharacterChunking(page_boxes=True),
    ]
    recipes = [recipe_of(chunking, MODEL) for chunking in chunkings]
    recipes.append(recipe_of(TokenChunking(), HashEmbedder(dimension=32).model))
    recipes.append(recipe_of(TokenChunking(), MODEL, reads_scans=True))
    recipes += [
        recipe_of(TokenChunking(), MODEL, docling=names) for names in (["a/b"], ["c/d"], ["a/b", "c/d"])
    ]
    assert len(set(recipes)) == len(recipes)


def test_recipe_does_not_depend_on_the_order_of_formats() -> None:
    one, other = (
        recipe_of(TokenChunking(), MODEL, docling=names) for names in (["a/b", "c/d"], ["c/d", "a/b"])
    )
    assert one == other
