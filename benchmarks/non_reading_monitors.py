"""Monitors that never read, observed from outside: when their connection became full, and when the gateway closed it.

A connection is full when the gateway's send queue stops growing in the kernel's table of connections; it is closed when
it is reset. The monitors send heartbeats, so that not reading is their only fault. The module imports nothing of the
gateway, so it starts quickly: ``python -m benchmarks.non_reading_monitors ORIGIN HEADERS COUNT SECONDS`` prints
"ready", then one line of JSON.
"""

import json
import select
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

POLL_INTERVAL_SECONDS = 0.1
HEARTBEAT_FRAME = b"\x81\x84\0\0\0\0beat"  # a masked text message, "beat"
HEARTBEAT_INTERVAL_SECONDS = 15.0


def run_monitors(origin: str, headers: dict[str, str], count: int, seconds: float) -> list[float]:
    """Run ``count`` monitors; return for each the seconds from when its connection was full until it was closed."""
    address, poll, monitors = urlsplit(origin), select.poll(), dict[int, NonReadingMonitor]()
    for _ in range(count):
        monitor = NonReadingMonitor(str(address.hostname), address.port or 0, headers)
        monitors[monitor.sock.fileno()] = monitor
        poll.register(monitor.sock, 0)  # errors only
    print("ready", flush=True)
    deadline = time.monotonic() + seconds
    last_heartbeat_at = time.monotonic()
    while any(monitor.closed_at is None for monitor in monitors.values()) and time.monotonic() < deadline:
        queues = _queued_bytes_by_port(address.port or 0)
        now = time.monotonic()
        for monitor in monitors.values():
            monitor.on_poll(now, queues.get(monitor.local_port))
        for descriptor, _ in poll.poll(0):
            monitors[descriptor].closed_at = now
            poll.unregister(descriptor)
        if now - last_heartbeat_at > HEARTBEAT_INTERVAL_SECONDS:
            last_heartbeat_at = now
            for monitor in monitors.values():
                monitor.send_heartbeat()
        time.sleep(POLL_INTERVAL_SECONDS)
    return [(monitor.closed_at or float("inf")) - monitor.full_since for monitor in monitors.values()]


class NonReadingMonitor:
    """One monitor that never reads. ``full_since`` and ``closed_at`` are instants of the monotonic clock."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.sock.connect((host, port))
        names = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        self.sock.sendall(f"GET /v1/events HTTP/1.1\r\n{lines}\r\n".encode())
        assert b" 101 " in self.sock.recv(64)
        self.local_port: int = self.sock.getsockname()[1]
        self.full_since = self._polled_at = time.monotonic()
        self.closed_at: float | None = None
        self._queued_bytes = 0

    def on_poll(self, now: float, queued_bytes: int | None) -> None:
        """Take the size of the gateway's send queue for this connection; while it grows, the connection is not full."""
        if queued_bytes is not None and queued_bytes > self._queued_bytes:
            self._queued_bytes, self.full_since = queued_bytes, self._polled_at
        self._polled_at = now

    def send_heartbeat(self) -> None:
        with suppress(OSError):
            self.sock.send(HEARTBEAT_FRAME)


def _queued_bytes_by_port(port: int) -> dict[int, int]:
    """Return the send queues of a port's connections by the peer's port (proc(5): /proc/net/tcp)."""
    own, queued_bytes = f":{port:04X}", {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, peer, _, queues, *_ = line.split()
        if local.endswith(own):
            queued_bytes[int(peer.partition(":")[2], 16)] = int(queues.partition(":")[0], 16)
    return queued_bytes


if __name__ == "__main__":
    print(json.dumps(run_monitors(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
