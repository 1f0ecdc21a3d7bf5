"""SSRF protection: a flow may only reach public addresses, whatever name or notation leads there.

A name is resolved once. If any of its addresses is not public, none is used, and the connection goes to an address that
was checked: DNS rebinding gains nothing.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

IpAddress = IPv4Address | IPv6Address
AddressPolicy = Callable[[IpAddress], bool]

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: all IPv6 addresses assigned so far
_SIXTOFOUR_RELAY = IPv4Network("192.88.99.0/24")  # RFC 7526: formerly anycast to 6to4 relays
_NAT64_PREFIX = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class AddressNotAllowed(Exception):
    """The request would go to an address that is not public. The message names the host, not the address."""


def is_public(address: IpAddress) -> bool:
    """Tell whether an address is on the public Internet; IPv4 addresses embedded in IPv6 are checked as IPv4."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        for embedded in (address.sixtofour, *(address.teredo or ())):
            if embedded is not None and not is_public(embedded):
                return False
        if address in _NAT64_PREFIX:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    elif address in _SIXTOFOUR_RELAY:
        return False
    return address.is_global and not address.is_multicast


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


def check_address(host: str, address: str, policy: AddressPolicy) -> None:
    """Check an address of ``host``. Raises AddressNotAllowed."""
    if not policy(ip_address(address.partition("%")[0])):
        raise AddressNotAllowed(f"`{host}` is not a public address; flows may only reach public ones")
