"""Ports for servers that have to be told theirs.

One that the kernel picks may be given to another by the time the server binds it. These lie below what it picks from,
and each test process has its own.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from secrets import choice

LOWEST_PORT = 10_000
PORT_STEP = 32  # more test processes than there are


def free_ports(count=1):
    """That many ports of 127.0.0.1 on which nobody listens."""
    picked = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ours, found = range(LOWEST_PORT + worker, picked, PORT_STEP), set()
    while len(found) < count:
        with suppress(OSError), socket.create_server(("127.0.0.1", port := choice(ours))):
            found.add(port)
    return list(found)
