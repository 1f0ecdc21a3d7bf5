"""The outgoing messages of a process, or of one shard of a cluster: a bounded queue and a task that sends batches.

When a batch fails it is unknown what has arrived, so all of it counts as lost and nothing is sent twice. Durable
messages wait until Redis is back. Channels that lost messages are told so first; only when that has worked are further
messages sent. Past the bound the oldest messages are dropped.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec

from vocelio.gateway.aio.bounded_queue import BoundedQueue
from vocelio.gateway.events.pubsub import Message
from vocelio.gateway.events.redis.client import TIMEOUT_SECONDS, Batch, RedisBackend, RetryLoop

LOG = logging.getLogger(__name__)

MAX_UNSENT_MESSAGES = 10_000  # messages: ten seconds of 500 busy calls, some 5 MB; past it the oldest are dropped
MAX_BATCH_MESSAGES = 250  # messages in one batch, so that the event loop serves other tasks in between
MAX_GAP_CHANNELS = 10_000  # channels known to have lost messages; others are repaired from the database as always

MESSAGE, GAP = b"m", b"g"

QueuedMessage = tuple[str, Message, bool]
"""Channel, message, and whether it is durable."""


class RedisPublisher:
    """Queues at most ``max_messages``; ``dropped`` counts the messages that were lost or did not fit."""

    def __init__(self, process: str, max_messages: int = MAX_UNSENT_MESSAGES) -> None:
        self._prefixes = {kind: kind + process.encode() for kind in (MESSAGE, GAP)}
        self._queue: BoundedQueue[QueuedMessage] = BoundedQueue(max_messages)
        self._gap_channels: dict[str, None] = {}
        self._retry_loop = RetryLoop("cannot publish to Redis")
        self.dropped = 0

    def enqueue(self, channel: str, message: Message, *, durable: bool) -> None:
        """Queue a message; a call never does more than this."""
        self._drop(self._queue.put((channel, message, durable)))

    def drop_transient(self) -> None:
        """Drop the messages that are not durable, because Redis was unavailable."""
        for message in self._queue.take():
            if message[2]:
                self._queue.put(message)
            else:
                self._drop([message])

    def mark_gap(self, channel: str) -> None:
        """Note that the channel lost messages; its subscribers are told before the next messages."""
        if len(self._gap_channels) < MAX_GAP_CHANNELS:
            self._gap_channels[channel] = None
            self._queue.notify()

    def move_to(self, publisher_for: Callable[[str], "RedisPublisher"]) -> None:
        """Move the queued messages and gaps to the publishers that send them from now on."""
        for channel in self._gap_channels:
            publisher_for(channel).mark_gap(channel)
        self._gap_channels.clear()
        for channel, message, durable in self._queue.take():
            publisher_for(channel).enqueue(channel, message, durable=durable)

    async def run(self, backend: RedisBackend) -> None:
        """Send until cancelled."""
        while True:
            while not self._queue and not self._gap_channels:
                await self._queue.wait()
            async with self._retry_loop:
                await self._send_batch(backend)

    async def _send_batch(self, backend: RedisBackend) -> None:
        gaps = list(self._gap_channels)[:MAX_BATCH_MESSAGES]
        for channel in gaps:  # before they are sent: messages that are lost meanwhile make another gap
            del self._gap_channels[channel]
        batch = [] if self._retry_loop.failures else self._queue.take(MAX_BATCH_MESSAGES)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await backend.publish([(channel, self._prefixes[GAP]) for channel in gaps] + self._encode(batch))
        except BaseException:
            self._gap_channels = dict.fromkeys(gaps) | self._gap_channels
            self._drop(batch)
            self.drop_transient()
            raise
        if self._retry_loop.failures:
            LOG.warning("publishing to Redis works again; %d messages were lost since the start", self.dropped)
            self._retry_loop.reset()

    def _encode(self, batch: list[QueuedMessage]) -> Batch:
        """Encode the messages, an event for two channels once. A message that cannot be encoded is dropped."""
        encoded: Batch = []
        previous, data = None, b""
        for queued in batch:
            channel, message, _ = queued
            if message is not previous:
                try:
                    body = message if isinstance(message, bytes) else msgspec.json.encode(message)
                except Exception as error:  # noqa: BLE001  its text may show what a caller has said
                    LOG.warning("a message could not be encoded and is dropped: %s", type(error).__name__)
                    self._drop([queued])
                    continue
                previous, data = message, self._prefixes[MESSAGE] + body
            encoded.append((channel, data))
        return encoded

    def _drop(self, messages: Iterable[QueuedMessage]) -> None:
        for channel, _, _ in messages:
            self.dropped += 1
            self.mark_gap(channel)
