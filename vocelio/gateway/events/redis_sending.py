"""What a process sends by Redis: a bounded queue, and one task that empties it, many messages in one go.

When Redis is away the oldest messages are dropped; as soon as it is back, the channels that lost some are told so
before anything else.
"""

import asyncio
import logging
from collections import deque

import msgspec

from vocelio.gateway.events.line import Message
from vocelio.gateway.events.redis_patience import Patience
from vocelio.gateway.events.redis_server import SECONDS, Batch, Server

LOG = logging.getLogger(__name__)

MAX_UNSENT = 10_000  # messages: ten seconds of 500 busy calls, some 5 MB; past it the oldest are dropped
AT_ONCE = 250  # in one go, so that a process that has much to say still answers in between
MAX_CHANNELS = 10_000  # that are known to have lost something; who watches any further looks into the store, as always

MESSAGE, GAP = b"m", b"g"


class Sending:
    """One process's. ``lost`` counts messages that were dropped."""

    def __init__(self, process: str) -> None:
        self._prefix = {kind: kind + process.encode() for kind in (MESSAGE, GAP)}
        self._unsent: deque[tuple[str, Message]] = deque()
        self._holed: dict[str, None] = {}
        self._wakeup = asyncio.Event()
        self._patience = Patience("redis takes no messages")
        self.lost = 0

    def send(self, channel: str, message: Message) -> None:
        """See Line. This is all that a call pays."""
        if len(self._unsent) >= MAX_UNSENT:
            self._lose(self._unsent.popleft()[0])
        self._unsent.append((channel, message))
        self._wakeup.set()

    async def run(self, server: Server) -> None:
        """Send for ever."""
        while True:
            await self._wakeup.wait()
            async with self._patience:
                await self._send(server)
            if not self._unsent and not self._holed:
                self._wakeup.clear()

    async def _send(self, server: Server) -> None:
        gaps, batch = list(self._holed)[:AT_ONCE], self._next()
        try:
            async with asyncio.timeout(SECONDS):
                await server.publish([(channel, self._prefix[GAP]) for channel in gaps] + self._encoded(batch))
        except BaseException:
            for channel, _ in batch:
                self._lose(channel)
            raise
        for channel in gaps:
            self._holed.pop(channel, None)
        if self._patience.failures:
            LOG.warning("redis takes messages again; %d were lost so far", self.lost)
            self._patience.rewarded()

    def _next(self) -> list[tuple[str, Message]]:
        return [self._unsent.popleft() for _ in range(min(AT_ONCE, len(self._unsent)))]

    def _encoded(self, batch: list[tuple[str, Message]]) -> Batch:
        """An event that goes to two channels is encoded once; what cannot be encoded at all is lost."""
        made: Batch = []
        before, raw = None, b""
        for channel, message in batch:
            if message is not before:
                try:
                    body = message if isinstance(message, bytes) else msgspec.json.encode(message)
                except Exception as error:  # noqa: BLE001  its text may show what a caller has said
                    LOG.warning("a message was not sent: %s", type(error).__name__)
                    self._lose(channel)
                    continue
                before, raw = message, self._prefix[MESSAGE] + body
            made.append((channel, raw))
        return made

    def _lose(self, channel: str) -> None:
        self.lost += 1
        if len(self._holed) < MAX_CHANNELS:
            self._holed[channel] = None
