"""A TCP balancer: each connection goes to the next of its servers that takes it, and ends as that server ends it."""

import asyncio
import itertools

from tests.proxy import Proxy


class Balancer(Proxy):
    """``ports`` are the servers' on 127.0.0.1, those that are down among them."""

    def __init__(self, ports):
        super().__init__(None)
        self.ports = list(ports)
        self.refused = 0  # connections that no server took
        self._turns = itertools.count()

    async def _connected(self):
        first = next(self._turns)
        for offset in range(len(self.ports)):
            try:
                return await asyncio.open_connection("127.0.0.1", self.ports[(first + offset) % len(self.ports)])
            except ConnectionRefusedError:
                continue
        self.refused += 1
        raise ConnectionRefusedError("no server is there")
