"""RedisPubSub instances of several processes on one Redis, and listeners that record what they receive."""

import asyncio
import re
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest

from tests.support.redis_server import START_TIMEOUT_SECONDS, RedisServer
from vocelio.gateway.events.redis.pubsub import RedisPubSub

SLOT_RANGES = ("0", "5460"), ("5461", "10922"), ("10923", "16383")
HEARTBEAT_SECONDS = 0.4  # seconds: two that are missed are noticed in one, and a crowded machine misses none


class ChannelListener:
    """Records the messages and gaps of a channel."""

    def __init__(self, line, channel):
        self.messages, self.gaps, self._wakeup = [], 0, asyncio.Event()
        self.unsubscribe = line.subscribe(channel, self._on_message, self._on_gap)

    def _on_message(self, message):
        self.messages.append(message)
        self._wakeup.set()

    def _on_gap(self):
        self.gaps += 1
        self._wakeup.set()

    async def wait_until(self, condition):
        """Wait until the condition holds."""
        async with asyncio.timeout(10):
            while not condition(self):
                self._wakeup.clear()
                await self._wakeup.wait()

    async def wait_until_subscribed(self):
        """Wait until the subscription has been established."""
        await self.wait_until(lambda recognizer: recognizer.gaps)


class FailingListener(ChannelListener):
    """Raises for some messages."""

    def _on_message(self, message):
        if message == b"bad":
            raise RecursionError
        super()._on_message(message)


@asynccontextmanager
async def running_pubsubs(*urls, beat=HEARTBEAT_SECONDS):
    """Start a RedisPubSub for each URL."""
    made = [RedisPubSub(url, beat) for url in urls]
    for line in made:
        await line.start()
    try:
        yield made
    finally:
        for line in made:
            await line.aclose()


@pytest.fixture(autouse=True)
async def no_leaked_tasks():
    """Check that closed instances leave no tasks."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@contextmanager
def redis_cluster(coverage):
    """Start three servers with a third of the slots each; ``coverage``: they refuse to work when one is missing."""
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer(cluster=True)) for _ in range(3)]
        for number, server in enumerate(servers):
            for other, (first, last) in enumerate(SLOT_RANGES):
                if other != number:
                    server.command("CLUSTER", "DELSLOTSRANGE", first, last)
            server.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            server.command("CONFIG", "SET", "cluster-require-full-coverage", coverage, "cluster-node-timeout", "500")
        for server in servers[1:]:
            bus = re.search(rb":(\d+)@(\d+)", server.command("CLUSTER", "NODES"))
            servers[0].command("CLUSTER", "MEET", "127.0.0.1", *bus.groups())
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not all(server.command("CLUSTER", "SLOTS").startswith(b"*3\r\n") for server in servers):
            assert time.monotonic() < deadline, "the servers have not met"
            time.sleep(0.01)
        yield servers
