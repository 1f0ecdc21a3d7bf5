"""Monitors that read all they are sent: when it arrives, and what does not.

They give their headers in turn, are there until a line is read, and then print what they have seen. This needs next to
nothing of ours, so that it is quick to start: python -m benchmarks.readers ORIGIN HEADERS COUNT
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
    """What monitors were sent: milliseconds of each event on its way, gaps, and sockets that were ended."""

    latencies_ms: list[float] = field(default_factory=list)
    gaps: int = 0
    closed_sockets: int = 0


async def run_monitors(origin: str, headers: list[dict[str, str]], count: int) -> None:
    """Be so many."""
    seen = ReceivedStats()
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        ways = [session.ws_connect(f"{origin}/v1/events", headers=one) for one in islice(cycle(headers), count)]
        readers = [asyncio.create_task(_read_socket(await way, seen)) for way in ways]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    print(json.dumps(asdict(seen)))


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
