"""Limits of connections: in total, by address, by IPv6 /64; what a proxy may have."""

from ipaddress import ip_network

import pytest

from vocelio.gateway.server.connection_limits import RESERVED_FILES, ConnectionLimits, max_connections

PROXIES = (ip_network("192.0.2.0/28"), ip_network("2001:db8:1::/48"))


def count_admitted(limits, addresses):
    return sum(limits.acquire(address) is not None for address in addresses)


@pytest.mark.parametrize(
    "addresses",
    [
        ["203.0.113.7"] * 9,
        ["2001:db8::1"] * 9,
        [f"2001:db8::{n}:1" for n in range(9)],  # one customer's /64
        ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:cb00:7107"] * 3,
        ["fe80::1%eth0"] * 9,
    ],
    ids=lambda addresses: addresses[1],
)
def test_one_address_has_a_limit_of_its_own(addresses):
    limits = ConnectionLimits(100, 5)
    assert count_admitted(limits, addresses) == 5
    assert count_admitted(limits, ["203.0.113.8", "2001:db8:0:1::1"]) == 2


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1::9", "127.0.0.1", "::1", ""])
def test_proxies_and_the_machine_itself_are_limited_in_total_only(address):
    limits = ConnectionLimits(7, 5, PROXIES)
    assert count_admitted(limits, [address] * 9) == 7
    assert limits.acquire("203.0.113.7") is None


def test_released_connections_make_room_and_leave_nothing_behind():
    limits = ConnectionLimits(3, 2)
    releases = [limits.acquire("203.0.113.7") for _ in range(2)]
    assert limits.acquire("203.0.113.7") is None
    for release in releases:
        release()
        release()  # twice, as by two protocols of one connection
    assert (limits.total, len(limits._by_address)) == (0, 0)
    assert count_admitted(limits, ["203.0.113.7"] * 3) == 2


@pytest.mark.parametrize(("files", "connections"), [(65_536, 65_536 - RESERVED_FILES), (1_024, 512), (400, 200)])
def test_descriptors_are_reserved_for_existing_work(files, connections):
    assert max_connections(files) == connections
