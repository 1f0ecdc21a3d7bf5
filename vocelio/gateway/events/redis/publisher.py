"""What a process sends by Redis, or a part of a cluster: a bounded queue, and a task that empties it, many in one go.

When a go fails, nobody knows what of it has arrived: it counts as lost, so that nothing arrives twice. What is lasting
waits until Redis is back, of which the channels that lost something are told first; only if that works the next
messages are risked. When the queue is full, the oldest are dropped.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from vocelio.gateway.events.pubsub import Message
from vocelio.gateway.events.redis.client import SECONDS, Batch, Patience, Server

LOG = logging.getLogger(__name__)

MAX_UNSENT = 10_000  # messages: ten seconds of 500 busy calls, some 5 MB; past it the oldest are dropped
AT_ONCE = 250  # in one go, so that a process that has much to say still answers in between
MAX_CHANNELS = 10_000  # that are known to have lost something; who watches any further looks into the store, as always

MESSAGE, GAP = b"m", b"g"

Unsent = tuple[str, Message, bool]
"""Channel, message, and whether it is lasting."""


class Sending:
    """One process's, ``most`` messages at a time. ``lost`` counts those that were dropped."""

    def __init__(self, process: str, most: int = MAX_UNSENT) -> None:
        self._most = most
        self._prefix = {kind: kind + process.encode() for kind in (MESSAGE, GAP)}
        self._unsent: deque[Unsent] = deque()
        self._holed: dict[str, None] = {}
        self._wakeup = asyncio.Event()
        self._patience = Patience("redis takes no messages")
        self.lost = 0

    def send(self, channel: str, message: Message, *, lasting: bool) -> None:
        """See Line. This is all that a call pays."""
        if len(self._unsent) >= self._most:
            self._lose([self._unsent.popleft()])
        self._unsent.append((channel, message, lasting))
        self._wakeup.set()

    def sift(self) -> None:
        """Redis was away: keep what is lasting."""
        before, self._unsent = self._unsent, deque(unsent for unsent in self._unsent if unsent[2])
        self._lose(unsent for unsent in before if not unsent[2])

    def hole(self, channel: str) -> None:
        """The channel lost something, and is to be told so."""
        if len(self._holed) < MAX_CHANNELS:
            self._holed[channel] = None
            self._wakeup.set()

    def pass_on(self, to: Callable[[str], "Sending"]) -> None:
        """Leave what waits, and the channels that lost something, to those that send it from now on."""
        for channel in self._holed:
            to(channel).hole(channel)
        for channel, message, lasting in self._unsent:
            to(channel).send(channel, message, lasting=lasting)
        self._holed.clear()
        self._unsent.clear()

    async def run(self, server: Server) -> None:
        """Send for ever."""
        while True:
            await self._wakeup.wait()
            async with self._patience:
                await self._send(server)
            if not self._unsent and not self._holed:
                self._wakeup.clear()

    async def _send(self, server: Server) -> None:
        gaps = list(self._holed)[:AT_ONCE]
        for channel in gaps:  # before they are told: what is lost meanwhile is another hole
            del self._holed[channel]
        batch = [] if self._patience.failures else self._next()
        try:
            async with asyncio.timeout(SECONDS):
                await server.publish([(channel, self._prefix[GAP]) for channel in gaps] + self._encoded(batch))
        except BaseException:
            self._holed = dict.fromkeys(gaps) | self._holed
            self._lose(batch)
            self.sift()
            raise
        if self._patience.failures:
            LOG.warning("redis takes messages again; %d were lost so far", self.lost)
            self._patience.rewarded()

    def _next(self) -> list[Unsent]:
        return [self._unsent.popleft() for _ in range(min(AT_ONCE, len(self._unsent)))]

    def _encoded(self, batch: list[Unsent]) -> Batch:
        """An event that goes to two channels is encoded once; what cannot be encoded at all is lost."""
        made: Batch = []
        before, raw = None, b""
        for unsent in batch:
            channel, message, _ = unsent
            if message is not before:
                try:
                    body = message if isinstance(message, bytes) else msgspec.json.encode(message)
                except Exception as error:  # noqa: BLE001  its text may show what a caller has said
                    LOG.warning("a message was not sent: %s", type(error).__name__)
                    self._lose([unsent])
                    continue
                before, raw = message, self._prefix[MESSAGE] + body
            made.append((channel, raw))
        return made

    def _lose(self, messages: Iterable[Unsent]) -> None:
        for channel, _, _ in messages:
            self.lost += 1
            self.hole(channel)
