from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.errors import InvalidArgument
from rag_server.services.paging import Pager
from tests.unit.rag_server.services.conftest import METHOD, in_call


@pytest.fixture(autouse=True)
def call() -> Iterator[None]:
    with in_call():
        yield


def token_after(key: Sequence[object], *arguments: object) -> str:
    _, token = Pager(1, "", *arguments).cut(["first", "second"], lambda item: list(key))
    assert token
    return token


def test_pager_without_a_token_starts_at_the_beginning() -> None:
    assert Pager(10, "").after is None


def test_pager_asks_for_one_more_than_a_page() -> None:
    assert Pager(10, "").limit == 11


@pytest.mark.parametrize("count", [0, 1, 2])
def test_pager_last_page_has_no_token(count: int) -> None:
    items = list(range(count))
    assert Pager(2, "").cut(items, lambda item: [item]) == (items, "")


def test_pager_token_continues_after_the_last_item_of_the_page() -> None:
    page, token = Pager(2, "").cut(["a", "b", "c"], lambda item: [item, 7])
    assert page == ["a", "b"]
    assert Pager(2, token, key=(str, int)).after == ["b", 7]


def test_pager_token_survives_another_page_size() -> None:
    assert Pager(50, token_after(["b"])).after == ["b"]


MOMENTS = st.datetimes(timezones=st.just(UTC))
PARTS = st.one_of(st.text(st.characters(exclude_characters="\0")), st.integers(0, 2**53 - 1), MOMENTS)


@given(st.lists(PARTS, min_size=1))
def test_pager_token_holds_any_key_and_fits_a_url(key: list[object]) -> None:
    with in_call():
        token = token_after(key)
        assert Pager(1, token, key=[type(each) for each in key]).after == key
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def refused(token: str, *arguments: object, key: Sequence[type] = (str,)) -> bool:
    with pytest.raises(InvalidArgument) as caught:
        Pager(10, token, *arguments, key=key)
    assert [each.field for each in caught.value.violations] == ["page_token"]
    return caught.value.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "%%%",
        "ñandú",
        "AAAA",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b'{"a": 1}').decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 1500).decode(),
        "[" * 100_000,
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_pager_token_that_is_garbage_is_refused(token: str) -> None:
    assert refused(token)


@pytest.mark.parametrize(
    ("made_up", "key"),
    [
        ([], (str,)),
        (["a", "b"], (str,)),
        ([None], (str,)),
        ([1], (str,)),
        (["a\0"], (str,)),
        (["1"], (int,)),
        ([1.5], (int,)),
        ([True], (int,)),
        ([-1], (int,)),
        ([2**53], (int,)),
        (["now", "b"], (datetime, str)),
        (["2026-01-01T00:00:00", "b"], (datetime, str)),
        ([1, "b"], (datetime, str)),
    ],
)
def test_pager_token_that_is_made_up_with_its_digest_is_refused(
    made_up: list[object], key: Sequence[type]
) -> None:
    assert refused(token_after(made_up), key=key)


def test_pager_token_of_another_method_is_refused() -> None:
    token = token_after(["b"])
    with in_call("/rag.v1.IngestService/ListJobs"):
        assert refused(token)


def test_pager_token_of_another_tenant_is_refused() -> None:
    token = token_after(["b"])
    with in_call(METHOD, "other"):
        assert refused(token)


@pytest.mark.parametrize("arguments", [(), ("books", "b"), ("booksb",), ("notes",)])
def test_pager_token_of_another_query_is_refused(arguments: tuple[str, ...]) -> None:
    assert refused(token_after(["b"], "books"), *arguments)


@given(st.data())
def test_pager_token_with_any_changed_character_is_refused_or_the_same(data: st.DataObject) -> None:
    with in_call():
        token = token_after(["2026-01-01T00:00:00+00:00", "0f" * 16])
        position = data.draw(st.integers(0, len(token) - 1))
        replacement = data.draw(st.characters(codec="ascii"))
        changed = token[:position] + replacement + token[position + 1 :]
        try:
            same = Pager(10, token, key=(datetime, str)).after
            assert Pager(10, changed, key=(datetime, str)).after == same
        except InvalidArgument as error:
            assert error.reason == "INVALID_PAGE_TOKEN"  # noqa: PT017 - both outcomes are right
