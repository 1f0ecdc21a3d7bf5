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
from vocelio.gateway.events.redis.client import TIMEOUT_SECONDS, RedisBackend, RetryLoop, connect
from vocelio.gateway.events.redis.publisher import MAX_UNSENT_MESSAGES, RedisPublisher
from vocelio.gateway.events.redis.subscriber import ChannelListener, RedisSubscriber

LOG = logging.getLogger(__name__)

PING_INTERVAL_SECONDS = (
    1.0  # seconds between two signs of life: a dead connection is noticed after two, a new one stands at once
)
CLOSE_TIMEOUT_SECONDS = 0.5
CANCEL_RETRY_SECONDS = 0.1  # to end in, until it is told again


class RedisPubSub:
    """One process's. ``beat`` is the time in seconds between two signs of life of a connection that listens."""

    def __init__(self, url: str, ping_interval_seconds: float = PING_INTERVAL_SECONDS) -> None:
        self.process = secrets.token_hex(4)
        self.is_local = False
        self._url, self._ping_interval_seconds = url, ping_interval_seconds
        self._publishers = {
            "": RedisPublisher(self.process)
        }  # by part of the server; until it is reached all is in this one
        self._pending: list[tuple[str, ChannelListener]] = []  # who subscribed before the server was reached
        self._backend: RedisBackend | None = None
        self._subscribers: dict[str, RedisSubscriber] = {}  # by channel, in a cluster; else there is one
        self._subscriber_tasks: dict[str, asyncio.Task[None]] = {}  # by channel, too
        self._tasks: set[asyncio.Task[None]] = set()  # all, until they have ended

    @property
    def dropped(self) -> int:
        """See Line."""
        return sum(sending.dropped for sending in self._publishers.values())

    def publish(self, channel: str, message: Message, *, durable: bool = False) -> None:
        """See Line."""
        self._publisher_for(channel).enqueue(channel, message, durable=durable)

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See Line."""
        entry = channel, ChannelListener(on_message, on_gap)
        if self._backend is None:
            self._pending.append(entry)
        else:
            self._add_listener(self._backend, *entry)
        return lambda: self._remove_listener(*entry)

    async def start(self) -> None:
        """See Line."""
        self._start_task("reach", self._connect())

    async def aclose(self) -> None:
        """See Line."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CLOSE_TIMEOUT_SECONDS
        while self._tasks and loop.time() < end:
            for task in self._tasks:
                task.cancel()  # again: redis-py's wait_for loses one that comes as it ends, before Python 3.12
            await asyncio.wait(self._tasks, timeout=CANCEL_RETRY_SECONDS)
        if self._backend is not None:
            await self._backend.aclose()

    async def _connect(self) -> None:
        """Whether it is a cluster only the server itself knows, so nothing begins before it answers."""
        patience = RetryLoop("redis does not answer")
        while True:
            async with patience, asyncio.timeout(TIMEOUT_SECONDS):
                server = await connect(self._url)
                break
        early_sending = self._publishers[""]
        if patience.failures:
            early_sending.drop_transient()
        self._backend = server
        for part in server.shards - {""}:
            self._publishers[part] = RedisPublisher(self.process, MAX_UNSENT_MESSAGES // len(server.shards))
        if server.sharded:
            early_sending.move_to(self._publisher_for)
        for part in server.shards:
            self._start_task(f"send {part}", self._publishers[part].run(server))
        early, self._pending = self._pending, []
        for channel, subscriber in early:
            self._add_listener(server, channel, subscriber)

    def _publisher_for(self, channel: str) -> RedisPublisher:
        return self._publishers[self._backend.shard(channel) if self._backend else ""]

    def _add_listener(self, backend: RedisBackend, channel: str, listener: ChannelListener) -> None:
        key = channel if backend.sharded else ""
        if key not in self._subscribers:
            receiving = self._subscribers[key] = RedisSubscriber(backend, self.process, self._ping_interval_seconds)
            self._subscriber_tasks[key] = self._start_task(f"hear {key}", receiving.run())
        self._subscribers[key].add(channel, listener)

    def _remove_listener(self, channel: str, listener: ChannelListener) -> None:
        if (channel, listener) in self._pending:
            self._pending.remove((channel, listener))
            return
        key = channel if self._backend and self._backend.sharded else ""
        if receiving := self._subscribers.get(key):
            receiving.remove(channel, listener)
            if key and not receiving.has_listeners:
                del self._subscribers[key]
                self._subscriber_tasks.pop(key).cancel()

    def _start_task(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()  # what it logs is not about whoever subscribed first
        task = loop.create_task(coroutine, name=f"redis: {name}", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task


def _log_failure(task: asyncio.Task[None]) -> None:
    """Our own defect, if it did not end as it should: the store still mends every picture."""
    if not task.cancelled() and (error := task.exception()):
        LOG.error("the line ended badly", exc_info=error)
