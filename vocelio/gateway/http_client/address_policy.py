"""SSRF protection: a flow may only reach public addresses, whatever name or notation leads there.

A name is resolved once. If any of its addresses is not public, none is used, and the connection goes to an address that
was checked: DNS rebinding gains nothing. A number that is not a canonical address is refused before any library can
interpret it.
"""

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from vocelio.gateway.config import Network
from vocelio.gateway.http_client.reserved_networks import IETF_IPV6, RESERVED_IPV4, RESERVED_IPV6, TEREDO

IpAddress = IPv4Address | IPv6Address
AddressPolicy = Callable[[IpAddress], bool]

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: all IPv6 addresses assigned so far
_NAT64_PREFIX = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_HOST_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE | re.ASCII)
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE | re.ASCII)
"""Notations that inet_aton and browsers accept as IPv4 addresses: 2130706433, 127.1, 0x7f.1 (WHATWG URL, 3.5)."""


class AddressNotAllowed(Exception):
    """The request would go to an address that is not public. The message names the host, not the address."""


def is_public(address: IpAddress) -> bool:
    """Tell whether an address is on the public Internet; IPv4 addresses embedded in IPv6 are checked as IPv4."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in RESERVED_IPV4)
    embedded = _embedded_addresses(address)
    if address.ipv4_mapped is not None or address in _NAT64_PREFIX:
        return all(map(is_public, embedded))
    if address not in _GLOBAL_UNICAST or any(address in network for network in RESERVED_IPV6):
        return False
    if address in IETF_IPV6 and address not in TEREDO:
        return False
    return all(map(is_public, embedded))


def public_except(blocked: Sequence[Network]) -> AddressPolicy:
    """Return a policy that also refuses the operator's own networks, embedded addresses included."""

    def is_allowed(address: IpAddress) -> bool:
        addresses = (address, *(_embedded_addresses(address) if isinstance(address, IPv6Address) else ()))
        return is_public(address) and not any(one in network for one in addresses for network in blocked)

    return is_allowed


def _embedded_addresses(address: IPv6Address) -> Sequence[IPv4Address]:
    """Return the IPv4 addresses to which a packet to ``address`` may go: mapped, NAT64, 6to4, Teredo (RFC 4380)."""
    nat64 = (IPv4Address(int(address) & 0xFFFFFFFF),) if address in _NAT64_PREFIX else ()
    candidates = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()), *nat64)
    return [one for one in candidates if one is not None]


class PublicResolver(AbstractResolver):
    """Resolves only to addresses that the policy allows. Raises AddressNotAllowed."""

    def __init__(self, policy: AddressPolicy = is_public, resolver: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            check_address(host, result["host"], self._policy)
        return results

    async def close(self) -> None:
        await self._resolver.close()


def check_host(host: str, policy: AddressPolicy) -> None:
    """Check the host of a URL, in ASCII, before it is resolved. Raises AddressNotAllowed."""
    if _is_address(host):
        check_address(host, host, policy)
    elif not _HOST_NAME.fullmatch(host) or _ENDS_IN_NUMBER.fullmatch(host):
        raise AddressNotAllowed(f"`{host}` is neither a host name nor a canonical IP address")


def _is_address(host: str) -> bool:
    """Tell whether it is a canonical address, without a zone, which only link-local ones have."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def check_address(host: str, address: str, policy: AddressPolicy) -> None:
    """Check an address of ``host``. Raises AddressNotAllowed."""
    if not policy(ip_address(address.partition("%")[0])):
        raise AddressNotAllowed(f"`{host}` is not a public address; flows may only reach public ones")
