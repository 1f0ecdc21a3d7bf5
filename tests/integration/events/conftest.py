"""Lines of two processes on one Redis, and ears that take down what they hear."""

import asyncio
import re
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest

from tests.redis import PATIENCE, Redis
from vocelio.gateway.events.redis.pubsub import RedisLine

THIRDS = ("0", "5460"), ("5461", "10922"), ("10923", "16383")
BEAT = 0.4  # seconds: two that are missed are noticed in one, and a crowded machine misses none


class Ear:
    """Listens to a channel of a line."""

    def __init__(self, line, channel):
        self.heard, self.gaps, self._wakeup = [], 0, asyncio.Event()
        self.end = line.subscribe(channel, self._hear, self._gap)

    def _hear(self, message):
        self.heard.append(message)
        self._wakeup.set()

    def _gap(self):
        self.gaps += 1
        self._wakeup.set()

    async def until(self, happened):
        """Until that is so."""
        async with asyncio.timeout(10):
            while not happened(self):
                self._wakeup.clear()
                await self._wakeup.wait()

    async def ready(self):
        """Until the subscription stands."""
        await self.until(lambda ear: ear.gaps)


class Choosy(Ear):
    """Some messages are too much for it."""

    def _hear(self, message):
        if message == b"bad":
            raise RecursionError
        super()._hear(message)


@asynccontextmanager
async def lines(*urls, beat=BEAT):
    """A line for each URL."""
    made = [RedisLine(url, beat) for url in urls]
    for line in made:
        await line.start()
    try:
        yield made
    finally:
        for line in made:
            await line.aclose()


@pytest.fixture(autouse=True)
async def nothing_is_left():
    """Whatever a line has begun ends with it."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@contextmanager
def cluster(coverage):
    """Three servers with a third of the slots each; ``coverage``: whether they want all to be there."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Redis(cluster=True)) for _ in range(3)]
        for number, server in enumerate(servers):
            for other, (first, last) in enumerate(THIRDS):
                if other != number:
                    server.ask("CLUSTER", "DELSLOTSRANGE", first, last)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            server.ask("CONFIG", "SET", "cluster-require-full-coverage", coverage, "cluster-node-timeout", "500")
        for server in servers[1:]:
            bus = re.search(rb":(\d+)@(\d+)", server.ask("CLUSTER", "NODES"))
            servers[0].ask("CLUSTER", "MEET", "127.0.0.1", *bus.groups())
        deadline = time.monotonic() + PATIENCE
        while not all(server.ask("CLUSTER", "SLOTS").startswith(b"*3\r\n") for server in servers):
            assert time.monotonic() < deadline, "the servers have not met"
            time.sleep(0.01)
        yield servers
