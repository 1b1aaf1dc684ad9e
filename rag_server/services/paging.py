"""Opaque page tokens: the key of the last item, bound to the query that it continues."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from rag_server.errors import InvalidArgument
from rag_server.interceptors.call import current_call

T = TypeVar("T")

_MAX_NUMBER: Final = 2**53 - 1
"""What every client can write as a number."""


class Pager:
    """Reads and writes the page tokens of one list query.

    A token works only with the method, tenant and arguments that it was made for, and only undamaged: its
    digest covers its key. It holds nothing that its reader has not just been shown, and one that is made up
    can do no more than ask for another page.
    """

    def __init__(
        self, page_size: int, page_token: str, *arguments: object, key: Sequence[type] = (str,)
    ) -> None:
        """`key`: what the list is ordered by, part by part: `str`, `int` from 0 on, or `datetime`.

        Raises `InvalidArgument` (`INVALID_PAGE_TOKEN`).
        """
        self.size = page_size
        self._kinds = tuple(key)
        call = current_call.get()
        self._scope = [call.tenant_id, call.method, *map(str, arguments)]
        self.after: list[Any] | None = self._decode(page_token) if page_token else None
        """Key of the last item of the page before; None on the first page."""

    def cut(self, items: Sequence[T], key: Callable[[T], list[Any]]) -> tuple[Sequence[T], str]:
        """Return one page of `items`, which were asked for with `limit`, and the token of the next."""
        if len(items) <= self.size:
            return items, ""
        page = items[: self.size]
        return page, self._encode(key(page[-1]))

    def token_after(self, key: list[Any]) -> str:
        """Return the token of the page that follows an item's key, for a list that was not cut by `cut`."""
        return self._encode(key)

    @property
    def limit(self) -> int:
        """How many items to ask for: one more than a page shows whether there is another."""
        return self.size + 1

    def _encode(self, key: list[Any]) -> str:
        told = [each.isoformat() if isinstance(each, datetime) else each for each in key]
        return base64.urlsafe_b64encode(json.dumps([self._digest(told), *told]).encode()).decode().rstrip("=")

    def _decode(self, token: str) -> list[Any]:
        try:
            decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (binascii.Error, ValueError, RecursionError):
            decoded = None
        if not isinstance(decoded, list) or not decoded or decoded[0] != self._digest(decoded[1:]):
            raise _invalid_token()
        try:
            return [_part(kind, part) for kind, part in zip(self._kinds, decoded[1:], strict=True)]
        except (TypeError, ValueError) as error:
            raise _invalid_token() from error

    def _digest(self, key: list[Any]) -> str:
        return hashlib.sha256(json.dumps([self._scope, key]).encode()).hexdigest()[:16]


def _part(kind: type, part: object) -> object:
    """Return a part of a key as what it has to be. Raises `TypeError` and `ValueError`."""
    if kind is datetime and isinstance(part, str):
        moment = datetime.fromisoformat(part)
        if moment.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return moment
    if type(part) is not kind:
        raise TypeError(f"not {kind.__name__}")
    if isinstance(part, int) and not 0 <= part <= _MAX_NUMBER:
        raise ValueError("no number of a row")
    if isinstance(part, str) and "\0" in part:
        raise ValueError("no text of a row")
    return part


def _invalid_token() -> InvalidArgument:
    return InvalidArgument.for_field(
        "page_token",
        "is not a token of this list: start again without one",
        reason="INVALID_PAGE_TOKEN",
    )
