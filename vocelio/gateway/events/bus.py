"""The bus: events of this process's calls to its own watchers at once, and by the line to those of other processes.

Publishing never waits and never fails: a watcher that does not keep up loses events, which are counted and shown to it
as a gap. A channel of the line is listened to only while somebody here watches that tenant.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from vocelio.gateway.events.event import Event
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub, decode_message
from vocelio.gateway.events.subscription import Subscription

ALL_TENANTS = ""
"""In the place of a tenant: the events of all."""

_CHANNEL_PREFIX = "vocelio:events"
_decoder = msgspec.json.Decoder(Event)


def event_channel(tenant: str) -> str:
    """The line's channel of a tenant's events. That of everybody's has each event once more.

    A pattern would save that second message, but Redis has none for the sharded channels of a cluster.
    """
    return f"{_CHANNEL_PREFIX}:{tenant}" if tenant else _CHANNEL_PREFIX


class EventBus:
    """One process's. Without a line its events stay in the process."""

    def __init__(self, pubsub: PubSub | None = None) -> None:
        self.pubsub = pubsub or LocalPubSub()
        self._subscribers: dict[str, set[Subscription]] = {}
        self._remote_unsubscribes: dict[str, Callable[[], None]] = {}

    def publish(self, event: Event) -> None:
        """Tell the tenant's watchers."""
        for audience in (event.tenant, ALL_TENANTS):
            for watcher in self._subscribers.get(audience, ()):
                watcher.put(event)
            if not self.pubsub.is_local:
                self.pubsub.publish(event_channel(audience), event, durable=True)

    @asynccontextmanager
    async def subscribe(self, tenant: str) -> AsyncIterator[Subscription]:
        """A watcher of the tenant's events, or of EVERYBODY's, from now on."""
        watcher = Subscription()
        watchers = self._subscribers.setdefault(tenant, set())
        watchers.add(watcher)
        if len(watchers) == 1:
            self._remote_unsubscribes[tenant] = self._subscribe_remote(tenant, watchers)
        elif not self.pubsub.is_local:
            watcher.mark_gap()  # whether the subscription stands already, only who began it knows
        try:
            yield watcher
        finally:
            watchers.discard(watcher)
            if not watchers:
                del self._subscribers[tenant]
                self._remote_unsubscribes.pop(tenant)()

    def _subscribe_remote(self, tenant: str, subscribers: set[Subscription]) -> Callable[[], None]:
        def heard(message: bytes) -> None:
            event = decode_message(_decoder, message)
            if event is None:
                gap()
            elif tenant in (event.tenant, ALL_TENANTS):
                for watcher in subscribers:
                    watcher.put(event)

        def gap() -> None:
            for watcher in subscribers:
                watcher.mark_gap()

        return self.pubsub.subscribe(event_channel(tenant), heard, gap)
