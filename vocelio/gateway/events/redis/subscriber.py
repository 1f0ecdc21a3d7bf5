"""The incoming messages of a process: one connection with its channels, replaced whenever it may be dead.

A connection that was cut somewhere on the way looks like an idle one, so it is pinged, and replaced when two pings were
not answered. Listeners are told of a gap each time a subscription has been established again.
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

MAX_MISSED_PINGS = 2  # unanswered pings after which the connection counts as dead
ERROR_LOG_INTERVAL_SECONDS = 60.0  # a defect may fail on each of a thousand messages a second


class ChannelListener(NamedTuple):
    """The callbacks of one subscription; see PubSub.subscribe."""

    on_message: Callable[[bytes], None]
    on_gap: Callable[[], None]


class RedisSubscriber:
    """The channels of one connection, which is pinged every ``ping_interval_seconds``."""

    def __init__(self, backend: RedisBackend, process: str, ping_interval_seconds: float) -> None:
        self._backend, self._own_process, self._ping_interval_seconds = backend, process.encode(), ping_interval_seconds
        self._listeners: dict[str, list[ChannelListener]] = {}
        self._requested: set[str] = set()  # channels that the present connection has subscribed
        self._unsubscribing: Counter[str] = Counter()  # channels with an unconfirmed unsubscription
        self._changed = asyncio.Event()
        self._missed_pings = 0  # since the last reply
        self._retry_loop = RetryLoop("cannot subscribe at Redis")
        self._next_error_log_at = 0.0  # by the loop's clock
        prefix = "S" if backend.sharded else ""
        self._subscribe_command, self._unsubscribe_command = f"{prefix}SUBSCRIBE", f"{prefix}UNSUBSCRIBE"

    def add(self, channel: str, listener: ChannelListener) -> None:
        """Add a listener."""
        self._listeners.setdefault(channel, []).append(listener)
        if channel in self._requested:  # already subscribed: no confirmation may follow
            listener.on_gap()
        self._changed.set()

    def remove(self, channel: str, listener: ChannelListener) -> None:
        """Remove a listener."""
        self._listeners[channel].remove(listener)
        if not self._listeners[channel]:
            del self._listeners[channel]
            self._changed.set()

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            while not self._listeners:
                self._changed.clear()
                await self._changed.wait()
            async with self._retry_loop:
                await self._listen()

    async def _listen(self) -> None:
        """Use one connection while it lives and has listeners."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            connection = await self._backend.open_listener(next(iter(self._listeners)))
        self._unsubscribing.clear()
        self._requested, self._missed_pings = set(), 0
        tasks = [asyncio.ensure_future(work(connection)) for work in (self._read, self._maintain)]
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
            finally:  # also when it is cancelled a second time
                await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            self._on_reply(await connection.read_response(timeout=math.inf, disconnect_on_error=False))
            self._missed_pings = 0

    def _on_reply(self, reply: Any) -> None:
        """Handle one reply. Raises RedisError when the server ends a subscription, as it does when a channel moves."""
        if not isinstance(reply, list) or len(reply) < 3:
            return  # the answer to a ping
        kind, channel, body = reply[0], reply[1].decode(), reply[2]
        listeners = self._listeners.get(channel, ())
        if kind in (b"message", b"smessage"):
            self._deliver(body, list(listeners))
        elif kind in (b"subscribe", b"ssubscribe"):
            self._retry_loop.reset()
            if not self._unsubscribing[channel]:  # else it ends at once, and another confirmation will follow
                for listener in list(listeners):
                    self._notify(listener.on_gap)
        elif self._unsubscribing[channel]:
            self._unsubscribing -= Counter([channel])  # drops zero counts: there is a channel for each call
        else:
            raise RedisError("the server ended a subscription")

    def _deliver(self, body: bytes, listeners: list[ChannelListener]) -> None:
        kind, sender = body[:1], body[1:9]
        if sender == self._own_process:
            return
        for listener in listeners:
            if kind != MESSAGE or not self._notify(listener.on_message, body[9:]):
                self._notify(listener.on_gap)

    def _notify(self, callback: Callable[..., None], *message: bytes) -> bool:
        """Call a listener; return whether it succeeded. Its error must not affect other listeners."""
        try:
            callback(*message)
        except Exception:
            now = asyncio.get_running_loop().time()
            if now >= self._next_error_log_at:
                self._next_error_log_at = now + ERROR_LOG_INTERVAL_SECONDS
                LOG.exception("a listener failed on a message; it is told of a gap")
            return False
        return True

    async def _maintain(self, connection: AbstractConnection) -> None:
        """Keep the subscriptions up to date and ping. Raises TimeoutError when pings are not answered.

        Unanswered pings are counted, not timed: after a stall of this process the answers may still be unread.
        """
        loop = asyncio.get_running_loop()
        next_ping_at = loop.time() + self._ping_interval_seconds
        while self._listeners:
            self._changed.clear()
            await self._sync_subscriptions(connection)
            try:
                async with asyncio.timeout(max(0.0, next_ping_at - loop.time())):
                    await self._changed.wait()
            except TimeoutError:
                if self._missed_pings == MAX_MISSED_PINGS:
                    raise
                self._missed_pings += 1
                await connection.send_command("PING", check_health=False)
                next_ping_at = loop.time() + self._ping_interval_seconds

    async def _sync_subscriptions(self, connection: AbstractConnection) -> None:
        desired, current = set(self._listeners), self._requested
        self._requested = desired
        added, removed = desired - current, current - desired
        self._unsubscribing.update(removed)
        for command, channels in ((self._unsubscribe_command, removed), (self._subscribe_command, added)):
            if channels:
                await connection.send_command(command, *sorted(channels), check_health=False)
