"""The Line port by Redis: publish and subscribe.

One connection listens to all channels, and one queue has all that is sent. In a cluster each channel has a connection
of its own, since it lives on one of the nodes, and each of the parts that fail separately a queue.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from vocelio.gateway.events.pubsub import Message
from vocelio.gateway.events.redis.client import SECONDS, Patience, Server, reach
from vocelio.gateway.events.redis.publisher import MAX_UNSENT, Sending
from vocelio.gateway.events.redis.subscriber import Receiving, Subscriber

LOG = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two signs of life: a dead connection is noticed after two, a new one stands at once
CLOSING_SECONDS = 0.5
CANCEL_SECONDS = 0.1  # to end in, until it is told again


class RedisLine:
    """One process's. ``beat`` is the time in seconds between two signs of life of a connection that listens."""

    def __init__(self, url: str, beat: float = BEAT) -> None:
        self.process = secrets.token_hex(4)
        self.alone = False
        self._url, self._beat = url, beat
        self._sending = {"": Sending(self.process)}  # by part of the server; until it is reached all is in this one
        self._early: list[tuple[str, Subscriber]] = []  # who subscribed before the server was reached
        self._server: Server | None = None
        self._receiving: dict[str, Receiving] = {}  # by channel, in a cluster; else there is one
        self._hearing: dict[str, asyncio.Task[None]] = {}  # by channel, too
        self._tasks: set[asyncio.Task[None]] = set()  # all, until they have ended

    @property
    def lost(self) -> int:
        """See Line."""
        return sum(sending.lost for sending in self._sending.values())

    def send(self, channel: str, message: Message, *, lasting: bool = False) -> None:
        """See Line."""
        self._sending_of(channel).send(channel, message, lasting=lasting)

    def subscribe(self, channel: str, heard: Callable[[bytes], None], gap: Callable[[], None]) -> Callable[[], None]:
        """See Line."""
        entry = channel, Subscriber(heard, gap)
        if self._server is None:
            self._early.append(entry)
        else:
            self._add(self._server, *entry)
        return lambda: self._remove(*entry)

    async def start(self) -> None:
        """See Line."""
        self._begin("reach", self._reach())

    async def aclose(self) -> None:
        """See Line."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CLOSING_SECONDS
        while self._tasks and loop.time() < end:
            for task in self._tasks:
                task.cancel()  # again: redis-py's wait_for loses one that comes as it ends, before Python 3.12
            await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS)
        if self._server is not None:
            await self._server.aclose()

    async def _reach(self) -> None:
        """Whether it is a cluster only the server itself knows, so nothing begins before it answers."""
        patience = Patience("redis does not answer")
        while True:
            async with patience, asyncio.timeout(SECONDS):
                server = await reach(self._url)
                break
        early_sending = self._sending[""]
        if patience.failures:
            early_sending.sift()
        self._server = server
        for part in server.parts - {""}:
            self._sending[part] = Sending(self.process, MAX_UNSENT // len(server.parts))
        if server.sharded:
            early_sending.pass_on(self._sending_of)
        for part in server.parts:
            self._begin(f"send {part}", self._sending[part].run(server))
        early, self._early = self._early, []
        for channel, subscriber in early:
            self._add(server, channel, subscriber)

    def _sending_of(self, channel: str) -> Sending:
        return self._sending[self._server.part(channel) if self._server else ""]

    def _add(self, server: Server, channel: str, subscriber: Subscriber) -> None:
        key = channel if server.sharded else ""
        if key not in self._receiving:
            receiving = self._receiving[key] = Receiving(server, self.process, self._beat)
            self._hearing[key] = self._begin(f"hear {key}", receiving.run())
        self._receiving[key].add(channel, subscriber)

    def _remove(self, channel: str, subscriber: Subscriber) -> None:
        if (channel, subscriber) in self._early:
            self._early.remove((channel, subscriber))
            return
        key = channel if self._server and self._server.sharded else ""
        if receiving := self._receiving.get(key):
            receiving.remove(channel, subscriber)
            if key and not receiving.wanted:
                del self._receiving[key]
                self._hearing.pop(key).cancel()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()  # what it logs is not about whoever subscribed first
        task = loop.create_task(work, name=f"redis: {name}", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_ended)
        return task


def _ended(task: asyncio.Task[None]) -> None:
    """Our own defect, if it did not end as it should: the store still mends every picture."""
    if not task.cancelled() and (error := task.exception()):
        LOG.error("the line ended badly", exc_info=error)
