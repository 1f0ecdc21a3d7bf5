"""Which addresses a flow may reach: public ones only, whatever name or notation leads there.

A name is resolved once; if any of its addresses is not public none is used, and the connection goes to an
address that was checked, so that a name that changes its mind in between gains nothing.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

IpAddress = IPv4Address | IPv6Address
AddressPolicy = Callable[[IpAddress], bool]

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: all that is given out of IPv6 so far
_SIXTOFOUR_RELAY = IPv4Network("192.88.99.0/24")  # RFC 7526: once led to somebody's IPv6
_NAT64_PREFIX = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class AddressNotAllowed(Exception):
    """The request would go to an address that is not public. The text names the host, not the address."""


def is_public(address: IpAddress) -> bool:
    """Whether anybody on the Internet could be there. IPv4 addresses inside IPv6 ones count as what they are."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        for inner in (address.sixtofour, *(address.teredo or ())):
            if inner is not None and not is_public(inner):
                return False
        if address in _NAT64_PREFIX:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    elif address in _SIXTOFOUR_RELAY:
        return False
    return address.is_global and not address.is_multicast


class PublicResolver(AbstractResolver):
    """Resolves only to addresses that the policy allows. Raises NotPublic."""

    def __init__(self, policy: AddressPolicy = is_public, resolver: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See AbstractResolver."""
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            check_address(host, result["host"], self._policy)
        return found

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._resolver.close()


def check_address(host: str, address: str, policy: AddressPolicy) -> None:
    """Raises NotPublic unless the address of ``host`` is allowed."""
    if not policy(ip_address(address.partition("%")[0])):
        raise AddressNotAllowed(f"`{host}` is not a public address: a flow cannot reach it")
