"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")

MAX_PAGE_SIZE = 1000

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="The greatest number of items to list.")]
All = Annotated[bool, typer.Option("--all", help="List everything, whatever --limit says.")]
PageToken = Annotated[
    str, typer.Option("--page-token", help="Go on where a list ended: its `next_page_token`.")
]
DEFAULT_LIMIT = 50


def collect(
    fetch: Callable[[int, str], tuple[Sequence[T], str]], *, limit: int | None, page_token: str = ""
) -> tuple[list[T], str]:
    """Return up to `limit` items (None: all) and the token of what follows, empty at the end.

    `fetch(page_size, page_token)` makes one call and returns a page and the next token.
    """
    items: list[T] = []
    while limit is None or len(items) < limit:
        wanted = MAX_PAGE_SIZE if limit is None else min(MAX_PAGE_SIZE, limit - len(items))
        page, page_token = fetch(wanted, page_token)
        items.extend(page)
        if not page_token:
            break
    return items, page_token
