"""SSRF protection: no notation, name or DNS rebinding reaches an address that is not public."""

import socket
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver

from vocelio.gateway.http_client.address_policy import AddressNotAllowed, PublicResolver, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_address_is_allowed(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 (an address to refuse)
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "::ffff:0:127.0.0.1",
        "::10.0.0.1",
        "fec0::1",
        "5f00::1",
        "192.88.99.1",
    ],
)
def test_private_address_is_rejected(address):
    assert not is_public(ip_address(address))


class FakeResolver(AbstractResolver):
    """Resolves with the test's addresses."""

    def __init__(self, *addresses):
        self.addresses = addresses

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {"hostname": host, "host": a, "port": port, "family": family, "proto": 0, "flags": 0}
            for a in self.addresses
        ]

    async def close(self):
        pass


async def test_resolver_rejects_a_name_with_one_private_address():
    resolver = PublicResolver(resolver=FakeResolver("8.8.8.8", "10.0.0.1"))
    with pytest.raises(AddressNotAllowed, match=r"`crm\.example` is not a public address"):
        await resolver.resolve("crm.example", 443)


async def test_resolver_returns_the_checked_addresses():
    results = await PublicResolver(resolver=FakeResolver("8.8.8.8", "1.1.1.1")).resolve("crm.example", 443)
    assert [result["host"] for result in results] == ["8.8.8.8", "1.1.1.1"]
