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
from vocelio.gateway.events.redis.client import TIMEOUT_SECONDS, Batch, RedisBackend, RetryLoop

LOG = logging.getLogger(__name__)

MAX_UNSENT_MESSAGES = 10_000  # messages: ten seconds of 500 busy calls, some 5 MB; past it the oldest are dropped
MAX_BATCH_MESSAGES = 250  # in one go, so that a process that has much to say still answers in between
MAX_GAP_CHANNELS = (
    10_000  # that are known to have lost something; who watches any further looks into the store, as always
)

MESSAGE, GAP = b"m", b"g"

QueuedMessage = tuple[str, Message, bool]
"""Channel, message, and whether it is lasting."""


class RedisPublisher:
    """One process's, ``most`` messages at a time. ``lost`` counts those that were dropped."""

    def __init__(self, process: str, max_messages: int = MAX_UNSENT_MESSAGES) -> None:
        self._max_messages = max_messages
        self._prefixes = {kind: kind + process.encode() for kind in (MESSAGE, GAP)}
        self._queue: deque[QueuedMessage] = deque()
        self._gap_channels: dict[str, None] = {}
        self._wakeup = asyncio.Event()
        self._retry_loop = RetryLoop("redis takes no messages")
        self.dropped = 0

    def enqueue(self, channel: str, message: Message, *, durable: bool) -> None:
        """See Line. This is all that a call pays."""
        if len(self._queue) >= self._max_messages:
            self._drop([self._queue.popleft()])
        self._queue.append((channel, message, durable))
        self._wakeup.set()

    def drop_transient(self) -> None:
        """Redis was away: keep what is lasting."""
        before, self._queue = self._queue, deque(unsent for unsent in self._queue if unsent[2])
        self._drop(unsent for unsent in before if not unsent[2])

    def mark_gap(self, channel: str) -> None:
        """The channel lost something, and is to be told so."""
        if len(self._gap_channels) < MAX_GAP_CHANNELS:
            self._gap_channels[channel] = None
            self._wakeup.set()

    def move_to(self, publisher_for: Callable[[str], "RedisPublisher"]) -> None:
        """Leave what waits, and the channels that lost something, to those that send it from now on."""
        for channel in self._gap_channels:
            publisher_for(channel).mark_gap(channel)
        for channel, message, lasting in self._queue:
            publisher_for(channel).enqueue(channel, message, durable=lasting)
        self._gap_channels.clear()
        self._queue.clear()

    async def run(self, backend: RedisBackend) -> None:
        """Send for ever."""
        while True:
            await self._wakeup.wait()
            async with self._retry_loop:
                await self._send_batch(backend)
            if not self._queue and not self._gap_channels:
                self._wakeup.clear()

    async def _send_batch(self, backend: RedisBackend) -> None:
        gaps = list(self._gap_channels)[:MAX_BATCH_MESSAGES]
        for channel in gaps:  # before they are told: what is lost meanwhile is another hole
            del self._gap_channels[channel]
        batch = [] if self._retry_loop.failures else self._next_batch()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await backend.publish([(channel, self._prefixes[GAP]) for channel in gaps] + self._encode(batch))
        except BaseException:
            self._gap_channels = dict.fromkeys(gaps) | self._gap_channels
            self._drop(batch)
            self.drop_transient()
            raise
        if self._retry_loop.failures:
            LOG.warning("redis takes messages again; %d were lost so far", self.dropped)
            self._retry_loop.reset()

    def _next_batch(self) -> list[QueuedMessage]:
        return [self._queue.popleft() for _ in range(min(MAX_BATCH_MESSAGES, len(self._queue)))]

    def _encode(self, batch: list[QueuedMessage]) -> Batch:
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
                    self._drop([unsent])
                    continue
                before, raw = message, self._prefixes[MESSAGE] + body
            made.append((channel, raw))
        return made

    def _drop(self, messages: Iterable[QueuedMessage]) -> None:
        for channel, _, _ in messages:
            self.dropped += 1
            self.mark_gap(channel)
