"""Free ports for servers that need a port number before they start.

A port chosen by the kernel could be given to another process before the server binds it. These ports are below the
kernel's range, and each test process has its own.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from secrets import choice

LOWEST_PORT = 10_000
PORT_STEP = 32  # exceeds the number of test processes


def free_ports(count=1):
    """Return ``count`` unused ports of 127.0.0.1."""
    kernel_range_start = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    candidates, ports = range(LOWEST_PORT + worker, kernel_range_start, PORT_STEP), set()
    while len(ports) < count:
        with suppress(OSError), socket.create_server(("127.0.0.1", port := choice(candidates))):
            ports.add(port)
    return list(ports)
