"""What every `AnswerStore` must do. Subclass it and provide the fixture `store`, with some room."""

from __future__ import annotations

from rag_server.backends.protocols import AnswerStore


class AnswerStoreSuite:
    """The conformance suite."""

    async def test_value_is_kept_as_it_is(self, store: AnswerStore) -> None:
        for value in (b"", b"\0\xff", b"x" * 2000):
            await store.put("acme", "key", value)
            assert await store.get("acme", "key") == value

    async def test_key_that_was_never_put_has_no_value(self, store: AnswerStore) -> None:
        await store.put("acme", "key", b"value")
        assert await store.get("acme", "other") is None

    async def test_later_value_replaces_an_earlier_one(self, store: AnswerStore) -> None:
        await store.put("acme", "key", b"earlier")
        await store.put("acme", "key", b"later")
        assert await store.get("acme", "key") == b"later"

    async def test_value_of_a_tenant_is_out_of_reach_of_others(self, store: AnswerStore) -> None:
        await store.put("acme", "key", b"secret")
        for tenant, key in (("other", "key"), ("", "acme:key"), ("ac", "me:key"), ("acme:", "key")):
            assert await store.get(tenant, key) is None
        await store.put("other", "key", b"own")
        assert await store.get("acme", "key") == b"secret"
