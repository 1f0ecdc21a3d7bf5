"""Monitors that read everything: latency of each event, gaps and closed sockets.

They use the given headers in turn, run until a line arrives on standard input, and then print their statistics as JSON.
The module imports next to nothing of the gateway, so it starts quickly:
``python -m benchmarks.reading_monitors ORIGIN HEADERS COUNT``.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice

import uvloop
from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector

from vocelio.gateway.clock import from_rfc3339, wall_clock

HEARTBEAT_MESSAGE, GAP_MESSAGE = '{"message":"heartbeat"}', '{"message":"gap"}'
OCCURRED_AT = '"occurred_at":"'


@dataclass(slots=True)
class ReceivedStats:
    """What all monitors received: latency of each event in milliseconds, gaps, and sockets closed by the gateway."""

    latencies_ms: list[float] = field(default_factory=list)
    gaps: int = 0
    closed_sockets: int = 0


async def run_monitors(origin: str, headers: list[dict[str, str]], count: int) -> None:
    """Run ``count`` monitors until a line arrives on standard input, then print their statistics."""
    stats = ReceivedStats()
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        connecting = [session.ws_connect(f"{origin}/v1/events", headers=each) for each in islice(cycle(headers), count)]
        readers = [asyncio.create_task(_read_socket(await socket, stats)) for socket in connecting]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    print(json.dumps(asdict(stats)))


async def _read_socket(socket: ClientWebSocketResponse, stats: ReceivedStats) -> None:
    async for message in socket:
        now = wall_clock()
        text = message.data
        if not isinstance(text, str):
            continue
        if '"type":"dtmf.received"' in text:
            start = text.index(OCCURRED_AT) + len(OCCURRED_AT)
            stats.latencies_ms.append((now - from_rfc3339(text[start : text.index('"', start)])) / 1e3)
        elif text == HEARTBEAT_MESSAGE:
            await socket.send_str("heartbeat")
        elif text == GAP_MESSAGE:
            stats.gaps += 1
    stats.closed_sockets += 1


if __name__ == "__main__":
    uvloop.run(run_monitors(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])))
