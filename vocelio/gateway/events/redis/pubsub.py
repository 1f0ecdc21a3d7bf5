"""The ``PubSub`` interface through Redis.

On a single node one connection subscribes to all channels and one queue has all outgoing messages. On a cluster each
channel has a connection of its own, because it lives on one of the nodes, and each shard has a queue.
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

PING_INTERVAL_SECONDS = 1.0  # a dead connection is detected after two pings without an answer
CLOSE_TIMEOUT_SECONDS = 0.5
CANCEL_RETRY_SECONDS = 0.1  # time for a task to end before it is cancelled again


class RedisPubSub:
    """Pub/sub of one process. Connections that subscribe are pinged every ``ping_interval_seconds``."""

    def __init__(self, url: str, ping_interval_seconds: float = PING_INTERVAL_SECONDS) -> None:
        self.process = secrets.token_hex(4)
        self.is_local = False
        self._url, self._ping_interval_seconds = url, ping_interval_seconds
        self._publishers = {"": RedisPublisher(self.process)}  # by shard; "" has all messages until Redis answers
        self._pending: list[tuple[str, ChannelListener]] = []  # subscriptions made before Redis answered
        self._backend: RedisBackend | None = None
        self._subscribers: dict[str, RedisSubscriber] = {}  # by channel on a cluster; else one
        self._subscriber_tasks: dict[str, asyncio.Task[None]] = {}  # by the same keys
        self._tasks: set[asyncio.Task[None]] = set()  # all that are running

    @property
    def dropped(self) -> int:
        return sum(publisher.dropped for publisher in self._publishers.values())

    def publish(self, channel: str, message: Message, *, durable: bool = False) -> None:
        self._publisher_for(channel).enqueue(channel, message, durable=durable)

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Callable[[], None]:
        entry = channel, ChannelListener(on_message, on_gap)
        if self._backend is None:
            self._pending.append(entry)
        else:
            self._add_listener(self._backend, *entry)
        return lambda: self._remove_listener(*entry)

    async def start(self) -> None:
        self._start_task("connect", self._connect())

    async def aclose(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_TIMEOUT_SECONDS
        while self._tasks and loop.time() < deadline:
            for task in self._tasks:
                task.cancel()  # repeatedly: before Python 3.12 wait_for in redis-py can lose a cancellation
            await asyncio.wait(self._tasks, timeout=CANCEL_RETRY_SECONDS)
        if self._backend is not None:
            await self._backend.aclose()

    async def _connect(self) -> None:
        """Wait for Redis, then start to send and subscribe: only the server knows whether it is a cluster."""
        retry_loop = RetryLoop("cannot connect to Redis")
        while True:
            async with retry_loop, asyncio.timeout(TIMEOUT_SECONDS):
                backend = await connect(self._url)
                break
        first_publisher = self._publishers[""]
        if retry_loop.failures:
            first_publisher.drop_transient()
        self._backend = backend
        for shard in backend.shards - {""}:
            self._publishers[shard] = RedisPublisher(self.process, MAX_UNSENT_MESSAGES // len(backend.shards))
        if backend.sharded:
            first_publisher.move_to(self._publisher_for)
        for shard in backend.shards:
            self._start_task(f"publish {shard}", self._publishers[shard].run(backend))
        pending, self._pending = self._pending, []
        for channel, listener in pending:
            self._add_listener(backend, channel, listener)

    def _publisher_for(self, channel: str) -> RedisPublisher:
        return self._publishers[self._backend.shard(channel) if self._backend else ""]

    def _add_listener(self, backend: RedisBackend, channel: str, listener: ChannelListener) -> None:
        key = channel if backend.sharded else ""
        if key not in self._subscribers:
            subscriber = self._subscribers[key] = RedisSubscriber(backend, self.process, self._ping_interval_seconds)
            self._subscriber_tasks[key] = self._start_task(f"subscribe {key}", subscriber.run())
        self._subscribers[key].add(channel, listener)

    def _remove_listener(self, channel: str, listener: ChannelListener) -> None:
        if (channel, listener) in self._pending:
            self._pending.remove((channel, listener))
            return
        key = channel if self._backend and self._backend.sharded else ""
        if subscriber := self._subscribers.get(key):
            subscriber.remove(channel, listener)
            if key and not subscriber.has_listeners:
                del self._subscribers[key]
                self._subscriber_tasks.pop(key).cancel()

    def _start_task(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()  # an empty log context: the task outlives the request that started it
        task = loop.create_task(coroutine, name=f"redis: {name}", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task


def _log_failure(task: asyncio.Task[None]) -> None:
    """Log a defect that ended a task; monitors are still repaired from the database."""
    if not task.cancelled() and (error := task.exception()):
        LOG.error("a pub/sub task failed; monitors depend on the database now", exc_info=error)
