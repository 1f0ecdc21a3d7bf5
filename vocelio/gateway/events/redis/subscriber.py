"""What a process hears by Redis: one connection with its channels, and a new one whenever that may be dead.

A connection that was cut somewhere on the way is silent like one on which nothing happens, so it is asked for a sign
of life every few seconds, and after two that did not come it is thrown away. Whoever listens is told of a gap each time
a subscription stands anew.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from vocelio.gateway.events.redis.client import TIMEOUT_SECONDS, RedisBackend, RetryLoop
from vocelio.gateway.events.redis.publisher import MESSAGE

LOG = logging.getLogger(__name__)

MAX_MISSED_PINGS = 2  # beats that did not come back: then the connection is dead
ERROR_LOG_INTERVAL_SECONDS = 60.0  # between two: a defect may show itself with each of a thousand messages a second


class ChannelListener(NamedTuple):
    """Who listens to a channel; see Line."""

    on_message: Callable[[bytes], None]
    on_gap: Callable[[], None]


class RedisSubscriber:
    """The channels of one connection. ``beat`` is in seconds."""

    def __init__(self, backend: RedisBackend, process: str, ping_interval_seconds: float) -> None:
        self._backend, self._own_process, self._ping_interval_seconds = backend, process.encode(), ping_interval_seconds
        self._listeners: dict[str, list[ChannelListener]] = {}
        self._requested: set[str] = set()  # channels that the present connection was asked for
        self._unsubscribing: Counter[str] = Counter()  # those whose end was asked for, and has not been confirmed
        self._changed = asyncio.Event()
        self._missed_pings = 0  # beats since something came
        self._retry_loop = RetryLoop("redis is not heard")
        self._next_error_log_at = 0.0  # by the loop's clock
        word = "S" if backend.sharded else ""
        self._subscribe_command, self._unsubscribe_command = f"{word}SUBSCRIBE", f"{word}UNSUBSCRIBE"

    def add(self, channel: str, listener: ChannelListener) -> None:
        """One more who listens."""
        self._listeners.setdefault(channel, []).append(listener)
        if channel in self._requested:  # for others, or for who has just left: no other confirmation may come
            listener.on_gap()
        self._changed.set()

    def remove(self, channel: str, listener: ChannelListener) -> None:
        """One less."""
        self._listeners[channel].remove(listener)
        if not self._listeners[channel]:
            del self._listeners[channel]
            self._changed.set()

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    async def run(self) -> None:
        """Listen for ever."""
        while True:
            while not self._listeners:
                self._changed.clear()
                await self._changed.wait()
            async with self._retry_loop:
                await self._listen()

    async def _listen(self) -> None:
        """On one connection, as long as it lives and anybody listens."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            connection = await self._backend.open_listener(next(iter(self._listeners)))
        self._unsubscribing.clear()
        self._requested, self._missed_pings = set(), 0
        tasks = [asyncio.ensure_future(part(connection)) for part in (self._read, self._maintain)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            self._requested = set()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:  # whoever closes may be told so twice
                await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            self._on_reply(await connection.read_response(timeout=math.inf, disconnect_on_error=False))
            self._missed_pings = 0

    def _on_reply(self, reply: Any) -> None:
        """Raises RedisError when the server ends a subscription by itself, as it does when a channel moves."""
        if not isinstance(reply, list) or len(reply) < 3:
            return  # a sign of life
        kind, channel, body = reply[0], reply[1].decode(), reply[2]
        subscribers = self._listeners.get(channel, ())
        if kind in (b"message", b"smessage"):
            self._deliver(body, list(subscribers))
        elif kind in (b"subscribe", b"ssubscribe"):
            self._retry_loop.reset()
            if not self._unsubscribing[channel]:  # else it ends at once, and another one is on its way
                for subscriber in list(subscribers):
                    self._notify(subscriber.on_gap)
        elif self._unsubscribing[channel]:
            self._unsubscribing -= Counter(
                [channel]
            )  # none are kept of which no more are due: there is a channel for each call
        else:
            raise RedisError("a subscription was ended")

    def _deliver(self, body: bytes, listeners: list[ChannelListener]) -> None:
        kind, sender = body[:1], body[1:9]
        if sender == self._own_process:
            return
        for subscriber in listeners:
            if kind != MESSAGE or not self._notify(subscriber.on_message, body[9:]):
                self._notify(subscriber.on_gap)

    def _notify(self, callback: Callable[..., None], *message: bytes) -> bool:
        """Whether the subscriber took it: an error is its own, and nobody else hears less for it."""
        try:
            callback(*message)
        except Exception:
            now = asyncio.get_running_loop().time()
            if now >= self._next_error_log_at:
                self._next_error_log_at = now + ERROR_LOG_INTERVAL_SECONDS
                LOG.exception("a message was not taken")
            return False
        return True

    async def _maintain(self, connection: AbstractConnection) -> None:
        """Ask for channels, and for signs of life. Raises TimeoutError when there are none.

        They are counted, not timed: a process that stood still itself has its answers before it yet.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._ping_interval_seconds
        while self._listeners:
            self._changed.clear()
            await self._sync_subscriptions(connection)
            try:
                async with asyncio.timeout(max(0.0, due - loop.time())):
                    await self._changed.wait()
            except TimeoutError:
                if self._missed_pings == MAX_MISSED_PINGS:
                    raise
                self._missed_pings += 1
                await connection.send_command("PING", check_health=False)
                due = loop.time() + self._ping_interval_seconds

    async def _sync_subscriptions(self, connection: AbstractConnection) -> None:
        wanted, asked = set(self._listeners), self._requested
        self._requested = wanted
        self._unsubscribing.update(asked - wanted)
        for word, channels in ((self._unsubscribe_command, asked - wanted), (self._subscribe_command, wanted - asked)):
            if channels:
                await connection.send_command(word, *sorted(channels), check_health=False)
