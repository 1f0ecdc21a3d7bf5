"""Lines of two processes on one Redis, and ears that take down what they hear."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from vocelio.gateway.events.redis_line import RedisLine

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
