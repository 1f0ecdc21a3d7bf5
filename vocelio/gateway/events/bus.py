"""Events and the event bus, which delivers them to this process's subscribers directly and to others by pub/sub.

Publishing never waits and never fails. A subscriber that does not keep up loses its oldest events and learns that there
was a gap. A pub/sub channel is subscribed only while this process has a subscriber of that tenant.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from vocelio.gateway.aio.bounded_queue import BoundedQueue
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub, decode_message

TRANSIENT_TYPES = frozenset({"caller.speaking", "transcript.partial"})
"""Types that are not part of the timeline; their ``sequence`` is that of the previous event."""

ALL_TENANTS = ""
"""Subscribes to the events of all tenants when used in place of a tenant."""

MAX_BACKLOG_EVENTS = 1_000  # events: some minutes of a busy tenant; past it the oldest are dropped

_CHANNEL_PREFIX = "vocelio:events"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a call; docs/events.md describes the types and their data.

    ``sequence`` counts within a call and generation; ``occurred_at`` is whole microseconds UTC.
    """

    tenant: str
    call: str
    generation: int
    sequence: int
    type: str
    occurred_at: int
    data: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Unique for ever."""
        return f"{self.call}-{self.generation}-{self.sequence}"


_decoder = msgspec.json.Decoder(Event)


class Subscription:
    """The events of one subscriber, oldest first.

    ``dropped`` counts the events that did not fit into the backlog, ``gaps`` how often others were lost on their way.
    """

    def __init__(self) -> None:
        self.dropped = self.gaps = 0
        self._backlog: BoundedQueue[Event] = BoundedQueue(MAX_BACKLOG_EVENTS)
        self._reported = (0, 0)

    def put(self, event: Event) -> None:
        """Append an event; past the bound the oldest is dropped."""
        self.dropped += len(self._backlog.put(event))

    def mark_gap(self) -> None:
        """Record that an unknown number of events was lost."""
        self.gaps += 1
        self._backlog.notify()

    async def get(self) -> Event:
        """Wait for the next event."""
        return await self._backlog.get()

    async def get_batch(self) -> tuple[list[Event], bool]:
        """Wait for events or a loss; return all events, and whether some were lost since the previous call."""
        while not self._backlog and self._reported == (self.dropped, self.gaps):
            await self._backlog.wait()
        lost = self._reported != (self.dropped, self.gaps)
        self._reported = (self.dropped, self.gaps)
        return self._backlog.take(), lost


class EventBus:
    """The bus of one process. Without ``pubsub`` its events stay in the process."""

    def __init__(self, pubsub: PubSub | None = None) -> None:
        self.pubsub = pubsub or LocalPubSub()
        self._subscribers: dict[str, set[Subscription]] = {}
        self._remote_unsubscribes: dict[str, Callable[[], None]] = {}

    def publish(self, event: Event) -> None:
        """Deliver an event to the tenant's subscribers and to those of all tenants."""
        for tenant in (event.tenant, ALL_TENANTS):
            for subscription in self._subscribers.get(tenant, ()):
                subscription.put(event)
            if not self.pubsub.is_local:
                self.pubsub.publish(event_channel(tenant), event, durable=True)

    @asynccontextmanager
    async def subscribe(self, tenant: str) -> AsyncIterator[Subscription]:
        """Subscribe to the events of a tenant, or of ALL_TENANTS, from now on."""
        subscription = Subscription()
        subscriptions = self._subscribers.setdefault(tenant, set())
        subscriptions.add(subscription)
        if len(subscriptions) == 1:
            self._remote_unsubscribes[tenant] = self._subscribe_remote(tenant, subscriptions)
        elif not self.pubsub.is_local:
            subscription.mark_gap()  # the channel may not be subscribed yet, and only the first subscriber is notified
        try:
            yield subscription
        finally:
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._subscribers[tenant]
                self._remote_unsubscribes.pop(tenant)()

    def _subscribe_remote(self, tenant: str, subscriptions: set[Subscription]) -> Callable[[], None]:
        def on_message(message: bytes) -> None:
            event = decode_message(_decoder, message)
            if event is None:
                on_gap()
            elif tenant in (event.tenant, ALL_TENANTS):
                for subscription in subscriptions:
                    subscription.put(event)

        def on_gap() -> None:
            for subscription in subscriptions:
                subscription.mark_gap()

        return self.pubsub.subscribe(event_channel(tenant), on_message, on_gap)


def event_channel(tenant: str) -> str:
    """Return the pub/sub channel of a tenant's events; that of all tenants receives each event a second time.

    A pattern subscription would save the second message, but Redis has none for the sharded channels of a cluster.
    """
    return f"{_CHANNEL_PREFIX}:{tenant}" if tenant else _CHANNEL_PREFIX
