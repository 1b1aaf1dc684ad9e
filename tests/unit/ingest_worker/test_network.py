from __future__ import annotations

import pytest

from ingest_worker.network import CheckedBackend, is_public
from rag_server.errors import InvalidArgument, Unavailable


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_address_public_is_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.1",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
        ),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
        *(
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
        ),
        *(
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
        ),
        *("2002:7f00:1::1", "2002:a00:1::1", "2001:0:7f00:1::", "not an address", ""),
    ],
)
def test_address_special_is_refused(address: str) -> None:
    assert not is_public(address)


async def test_backend_host_with_one_private_address_among_public_ones_is_refused() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(InvalidArgument) as caught:
        await CheckedBackend(resolver, allow_private_addresses=False).connect_tcp("mixed.test", 80)
    assert caught.value.reason == "URI_FORBIDDEN_ADDRESS"
    assert "10.0.0.1" not in caught.value.message


async def test_backend_host_without_addresses_is_unavailable() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(Unavailable) as caught:
        await CheckedBackend(resolver, allow_private_addresses=False).connect_tcp("none.test", 80)
    assert caught.value.reason == "URI_FETCH_FAILED"


async def test_backend_host_that_does_not_resolve_is_unavailable() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise OSError("resolver detail")

    with pytest.raises(Unavailable) as caught:
        await CheckedBackend(resolver, allow_private_addresses=False).connect_tcp("none.test", 80)
    assert "resolver detail" not in caught.value.message
