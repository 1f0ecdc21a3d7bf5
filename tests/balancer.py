"""A TCP balancer: each connection goes to the server that has the fewest, and ends as that server ends it."""

import asyncio
from collections import Counter

from tests.proxy import Proxy


class Balancer(Proxy):
    """``ports`` are the servers' on 127.0.0.1, those that are down among them."""

    def __init__(self, ports):
        super().__init__(None)
        self.ports = list(ports)
        self.refused = 0  # connections that no server took
        self._open = Counter()

    async def _connected(self):
        for port in sorted(self.ports, key=self._open.__getitem__):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                continue
            self._open[port] += 1
            asyncio.current_task().add_done_callback(lambda _, port=port: self._open.subtract([port]))
            return reader, writer
        self.refused += 1
        raise ConnectionRefusedError("no server is there")
