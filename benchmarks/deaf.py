"""Monitors that never read, seen from outside: since when nothing more fits into one's connection, and when it is gone.

The first is in the kernel's table of connections, which shows what waits on the gateway's side, the second is that the
connection is reset. They give signs of life, so that not reading is all that is wrong with them. This needs nothing of
ours, so that it is quick to start: python -m benchmarks.deaf ORIGIN HEADERS COUNT SECONDS
"""

import json
import select
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

POLL_INTERVAL_SECONDS = 0.1  # seconds between two looks
HEARTBEAT_FRAME = b"\x81\x84\0\0\0\0beat"  # of life, every SIGN_SECONDS: a masked text message
HEARTBEAT_INTERVAL_SECONDS = 15.0


def run_monitors(origin: str, headers: dict[str, str], count: int, seconds: float) -> list[float]:
    """Be so many: the seconds that each was there since nothing more fitted in."""
    place, poll, ears = urlsplit(origin), select.poll(), dict[int, NonReadingMonitor]()
    for _ in range(count):
        ear = NonReadingMonitor(str(place.hostname), place.port or 0, headers)
        ears[ear.sock.fileno()] = ear
        poll.register(ear.sock, 0)  # errors only
    print("ready", flush=True)
    deadline = time.monotonic() + seconds
    signed = time.monotonic()
    while any(ear.closed_at is None for ear in ears.values()) and time.monotonic() < deadline:
        queues = _queued_bytes_by_port(place.port or 0)
        now = time.monotonic()
        for ear in ears.values():
            ear.on_poll(now, queues.get(ear.local_port))
        for descriptor, _ in poll.poll(0):
            ears[descriptor].closed_at = now
            poll.unregister(descriptor)
        if now - signed > HEARTBEAT_INTERVAL_SECONDS:
            signed = now
            for ear in ears.values():
                ear.send_heartbeat()
        time.sleep(POLL_INTERVAL_SECONDS)
    return [(ear.closed_at or float("inf")) - ear.full_since for ear in ears.values()]


class NonReadingMonitor:
    """One monitor that never reads. ``full`` is since when nothing more fits in, ``gone`` when it was cut off."""

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
        """``queue`` is how much the gateway's kernel holds for it; while that grows, there is room."""
        if queued_bytes is not None and queued_bytes > self._queued_bytes:
            self._queued_bytes, self.full_since = queued_bytes, self._polled_at
        self._polled_at = now

    def send_heartbeat(self) -> None:
        """Give a sign of life."""
        with suppress(OSError):
            self.sock.send(HEARTBEAT_FRAME)


def _queued_bytes_by_port(port: int) -> dict[int, int]:
    """By the peer's port, bytes that wait for it in connections of that port (proc(5), /proc/net/tcp)."""
    own, found = f":{port:04X}", {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, peer, _, queues, *_ = line.split()
        if local.endswith(own):
            found[int(peer.partition(":")[2], 16)] = int(queues.partition(":")[0], 16)
    return found


if __name__ == "__main__":
    print(json.dumps(run_monitors(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
