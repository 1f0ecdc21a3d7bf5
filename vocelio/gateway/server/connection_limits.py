"""Limits of open files and connections, so that no peer can take the descriptors that live calls need.

Every connection costs a descriptor, from its first byte, complete request or not. The newest connection is refused;
existing ones are never closed for it. An IPv6 address counts by its /64, which is what one customer has at least.
"""

import logging
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from vocelio.gateway import logs
from vocelio.gateway.config import Network

MIN_OPEN_FILES = 4_096  # enough for 200 calls with their connections to providers and databases, and 2,000 monitors
MAX_OPEN_FILES = 65_536
RESERVED_FILES = 1_024  # for the database, storage, providers and flows' requests; half of the files if there are few
IPV6_PREFIX_BITS = 64

LOG = logging.getLogger(__name__)


def raise_open_file_limit() -> int:
    """Raise the process's limit of open files, sockets included, as far as the system allows; return the new limit.

    The default is 1,024, since programs that use ``select`` break with more; none of our code does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed, highest = (MAX_OPEN_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if allowed < (highest := min(highest, MAX_OPEN_FILES)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        allowed = highest
    if allowed < MIN_OPEN_FILES:
        LOG.warning(
            "only %d open files are allowed, fewer than %d: raise the hard limit (ulimit -Hn)", allowed, MIN_OPEN_FILES
        )
    return allowed


def open_file_limit() -> int:
    """Return how many files the process may have open."""
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], MAX_OPEN_FILES)


class ConnectionLimits:
    """Counts the connections of a process, in total and by address.

    Connections of trusted proxies, and of the machine itself, where a proxy usually is, count for the total only.
    """

    def __init__(self, max_total: int, max_per_address: int, trusted_proxies: Sequence[Network] = ()) -> None:
        self._max_total, self._max_per_address = max_total, max_per_address
        self._trusted_proxies = trusted_proxies
        self._by_address: Counter[Network | None] = Counter()
        self.total = 0

    def acquire(self, address: str) -> Callable[[], None] | None:
        """Count a connection; return the function that ends it, or None if there are too many.

        ``address`` is empty if it is unknown, as with a Unix socket.
        """
        key = self._key_of(address)
        if self.total >= self._max_total:
            LOG.warning("connection refused: %d are open in total", self.total, extra=logs.RATE_LIMITED)
            return None
        if key is not None and self._by_address[key] >= self._max_per_address:
            LOG.warning(
                "connection refused: %d are open of %s", self._max_per_address, address, extra=logs.RATE_LIMITED
            )
            return None
        self.total += 1
        self._by_address[key] += 1
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._release(key)

        return release

    def _release(self, key: Network | None) -> None:
        self.total -= 1
        self._by_address[key] -= 1
        if not self._by_address[key]:
            del self._by_address[key]

    def _key_of(self, address: str) -> Network | None:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        if parsed.is_loopback or any(parsed in proxy for proxy in self._trusted_proxies):
            return None
        return ip_network((parsed, IPV6_PREFIX_BITS if parsed.version == 6 else 32), strict=False)


def max_connections(open_files: int) -> int:
    """Return how many connections a process may have with that many open files."""
    return max(open_files - RESERVED_FILES, open_files // 2)
