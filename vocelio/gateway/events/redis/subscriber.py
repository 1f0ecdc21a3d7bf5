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

from vocelio.gateway.events.redis.client import SECONDS, Patience, Server
from vocelio.gateway.events.redis.publisher import MESSAGE

LOG = logging.getLogger(__name__)

MISSED = 2  # beats that did not come back: then the connection is dead
COMPLAINT_SECONDS = 60.0  # between two: a defect may show itself with each of a thousand messages a second


class Subscriber(NamedTuple):
    """Who listens to a channel; see Line."""

    heard: Callable[[bytes], None]
    gap: Callable[[], None]


class Receiving:
    """The channels of one connection. ``beat`` is in seconds."""

    def __init__(self, server: Server, process: str, beat: float) -> None:
        self._server, self._own, self._beat = server, process.encode(), beat
        self._wanted: dict[str, list[Subscriber]] = {}
        self._asked: set[str] = set()  # channels that the present connection was asked for
        self._left: Counter[str] = Counter()  # those whose end was asked for, and has not been confirmed
        self._changed = asyncio.Event()
        self._missed = 0  # beats since something came
        self._patience = Patience("redis is not heard")
        self._complain_from = 0.0  # by the loop's clock
        word = "S" if server.sharded else ""
        self._subscribe, self._unsubscribe = f"{word}SUBSCRIBE", f"{word}UNSUBSCRIBE"

    def add(self, channel: str, subscriber: Subscriber) -> None:
        """One more who listens."""
        self._wanted.setdefault(channel, []).append(subscriber)
        if channel in self._asked:  # for others, or for who has just left: no other confirmation may come
            subscriber.gap()
        self._changed.set()

    def remove(self, channel: str, subscriber: Subscriber) -> None:
        """One less."""
        self._wanted[channel].remove(subscriber)
        if not self._wanted[channel]:
            del self._wanted[channel]
            self._changed.set()

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._wanted)

    async def run(self) -> None:
        """Listen for ever."""
        while True:
            while not self._wanted:
                self._changed.clear()
                await self._changed.wait()
            async with self._patience:
                await self._listen()

    async def _listen(self) -> None:
        """On one connection, as long as it lives and anybody listens."""
        async with asyncio.timeout(SECONDS):
            connection = await self._server.listener(next(iter(self._wanted)))
        self._left.clear()
        self._asked, self._missed = set(), 0
        tasks = [asyncio.ensure_future(part(connection)) for part in (self._read, self._keep)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            self._asked = set()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:  # whoever closes may be told so twice
                await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            self._take(await connection.read_response(timeout=math.inf, disconnect_on_error=False))
            self._missed = 0

    def _take(self, answer: Any) -> None:
        """Raises RedisError when the server ends a subscription by itself, as it does when a channel moves."""
        if not isinstance(answer, list) or len(answer) < 3:
            return  # a sign of life
        kind, channel, body = answer[0], answer[1].decode(), answer[2]
        subscribers = self._wanted.get(channel, ())
        if kind in (b"message", b"smessage"):
            self._pass_on(body, list(subscribers))
        elif kind in (b"subscribe", b"ssubscribe"):
            self._patience.rewarded()
            if not self._left[channel]:  # else it ends at once, and another one is on its way
                for subscriber in list(subscribers):
                    self._tell(subscriber.gap)
        elif self._left[channel]:
            self._left -= Counter([channel])  # none are kept of which no more are due: there is a channel for each call
        else:
            raise RedisError("a subscription was ended")

    def _pass_on(self, body: bytes, subscribers: list[Subscriber]) -> None:
        kind, sender = body[:1], body[1:9]
        if sender == self._own:
            return
        for subscriber in subscribers:
            if kind != MESSAGE or not self._tell(subscriber.heard, body[9:]):
                self._tell(subscriber.gap)

    def _tell(self, what: Callable[..., None], *message: bytes) -> bool:
        """Whether the subscriber took it: an error is its own, and nobody else hears less for it."""
        try:
            what(*message)
        except Exception:
            now = asyncio.get_running_loop().time()
            if now >= self._complain_from:
                self._complain_from = now + COMPLAINT_SECONDS
                LOG.exception("a message was not taken")
            return False
        return True

    async def _keep(self, connection: AbstractConnection) -> None:
        """Ask for channels, and for signs of life. Raises TimeoutError when there are none.

        They are counted, not timed: a process that stood still itself has its answers before it yet.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._beat
        while self._wanted:
            self._changed.clear()
            await self._ask(connection)
            try:
                async with asyncio.timeout(max(0.0, due - loop.time())):
                    await self._changed.wait()
            except TimeoutError:
                if self._missed == MISSED:
                    raise
                self._missed += 1
                await connection.send_command("PING", check_health=False)
                due = loop.time() + self._beat

    async def _ask(self, connection: AbstractConnection) -> None:
        wanted, asked = set(self._wanted), self._asked
        self._asked = wanted
        self._left.update(asked - wanted)
        for word, channels in ((self._unsubscribe, asked - wanted), (self._subscribe, wanted - asked)):
            if channels:
                await connection.send_command(word, *sorted(channels), check_health=False)
