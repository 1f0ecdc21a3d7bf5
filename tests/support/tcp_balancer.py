"""TCP load balancer: forwards each connection to the server with the fewest connections."""

import asyncio
from collections import Counter

from tests.support.faulty_tcp_proxy import FaultyTcpProxy


class TcpBalancer(FaultyTcpProxy):
    """Balances between ``ports`` of 127.0.0.1; servers that are down are skipped."""

    def __init__(self, ports):
        super().__init__(None)
        self.ports = list(ports)
        self.refused_connections = 0  # accepted by no server
        self._open_connections = Counter()

    async def _connect_target(self):
        for port in sorted(self.ports, key=self._open_connections.__getitem__):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                continue
            self._open_connections[port] += 1
            asyncio.current_task().add_done_callback(lambda _, port=port: self._open_connections.subtract([port]))
            return reader, writer
        self.refused_connections += 1
        raise ConnectionRefusedError("no server accepts connections")
