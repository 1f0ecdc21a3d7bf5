"""SSRF protection: no notation, name or DNS rebinding reaches an address that is not public."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from aiohttp.abc import AbstractResolver
from yarl import URL

from vocelio.gateway.http_client.address_policy import (
    AddressNotAllowed,
    PublicResolver,
    check_host,
    is_public,
    public_except,
)
from vocelio.gateway.http_client.reserved_networks import CLOUD_FABRIC, SPECIAL_IPV4, SPECIAL_IPV6


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
        # of clouds
        "168.63.129.16",
        "192.0.0.192",
        "100.100.100.200",
        "169.254.170.2",
        "161.26.0.7",
        "166.9.1.1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:168.63.129.16",
        "64:ff9b::a83f:8110",
        "2002:a83f:8110::1",
        # globally reachable by some registry or Python version
        "192.0.0.8",
        "192.0.0.9",
        "192.31.196.1",
        "192.52.193.1",
        "192.175.48.1",
        "2001:1::1",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "2001:30::1",
        "2001:100::1",
        "2620:4f:8000::1",
        "3fff::1",
        "3fff:fff::1",
        "100:0:0:1::1",
        # Teredo with a private server or client
        "2001:0:a00:1::",
        "2001:0:808:808:0:0:f5ff:fffe",
    ],
)
def test_private_address_is_rejected(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("network", [*SPECIAL_IPV4, *SPECIAL_IPV6, *CLOUD_FABRIC])
def test_first_and_last_address_of_each_reserved_network_is_rejected(network):
    assert not is_public(ip_network(network)[0])
    assert not is_public(ip_network(network)[-1])


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "198.20.0.1",
        "223.255.255.1",
        "168.63.129.15",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2620:4f:8001::1",
        "3fff:1000::1",
        "2002:808:808::1",
        "2001:0:808:808:0:0:f7f7:f7f7",
    ],
)
def test_neighbors_of_reserved_networks_are_allowed(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("kind", [IPv4Address, IPv6Address])
def test_networks_that_python_calls_private_are_rejected(kind):
    embedding = {"::ffff:0:0/96", "2001::/23"}  # checked by what they embed, and by parts
    networks = [network for network in kind._constants._private_networks if str(network) not in embedding]
    assert len(networks) >= 8
    assert [network for network in networks if is_public(network[0]) or is_public(network[-1])] == []


@pytest.mark.parametrize("address", ["198.51.99.7", "::ffff:198.51.99.7", "64:ff9b::c633:6307", "2002:c633:6307::1"])
def test_networks_of_the_operator_are_rejected(address):
    policy = public_except([ip_network("198.51.99.0/24"), ip_network("2606:4700::/32")])
    assert is_public(ip_address(address))
    assert not policy(ip_address(address))
    assert not policy(ip_address("2606:4700::1"))
    assert policy(ip_address("8.8.8.8"))
    assert not policy(ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0X7F.0.0.0x1/",
        "http://0/",
        "http://0x/",
        "http://1.2.3.4.5/",
        "http://name.127/",
        "http://127.0.0.1./",
        "http://127.0.0.1../",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://\uff11\uff12\uff17\u3002\uff11/",
        "http://①②⑦.①/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1%00.example.com/",
        "http://[::1]/",
        "http://[::ffff:7f00:1]/",
        "http://[2606:4700::1%25lo]/",
        "http://[::127.0.0.1]/",
        "http://99999999999999999999/",
    ],
)
def test_odd_notations_are_rejected_before_they_are_resolved(url):
    with pytest.raises(AddressNotAllowed):
        check_host(URL(url).raw_host, is_public)


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example/",
        "http://crm.example./",
        "http://bücher.example/",
        "http://a_b.example/",
        "http://1.1.1.1/",
        "http://7eleven.example/",
        "http://1.2.3.4.example/",
        "http://0x7f.example/",
        "http://crm/",
        "http://[2606:4700::1]/",
    ],
)
def test_usual_hosts_are_resolved(url):
    check_host(URL(url).raw_host, is_public)


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
