"""The bus: events of this process's calls to its own watchers at once, and by the line to those of other processes.

Publishing never waits and never fails: a watcher that does not keep up loses events, which are counted and shown to it
as a gap. A channel of the line is listened to only while somebody here watches that tenant.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from vocelio.gateway.events.event import Event
from vocelio.gateway.events.pubsub import Alone, Line, read
from vocelio.gateway.events.subscription import Watcher

EVERYBODY = ""
"""In the place of a tenant: the events of all."""

_CHANNEL = "vocelio:events"
_decoder = msgspec.json.Decoder(Event)


def channel(tenant: str) -> str:
    """The line's channel of a tenant's events. That of everybody's has each event once more.

    A pattern would save that second message, but Redis has none for the sharded channels of a cluster.
    """
    return f"{_CHANNEL}:{tenant}" if tenant else _CHANNEL


class EventBus:
    """One process's. Without a line its events stay in the process."""

    def __init__(self, line: Line | None = None) -> None:
        self.line = line or Alone()
        self._watchers: dict[str, set[Watcher]] = {}
        self._subscriptions: dict[str, Callable[[], None]] = {}

    def publish(self, event: Event) -> None:
        """Tell the tenant's watchers."""
        for audience in (event.tenant, EVERYBODY):
            for watcher in self._watchers.get(audience, ()):
                watcher.put(event)
            if not self.line.alone:
                self.line.send(channel(audience), event, lasting=True)

    @asynccontextmanager
    async def watch(self, tenant: str) -> AsyncIterator[Watcher]:
        """A watcher of the tenant's events, or of EVERYBODY's, from now on."""
        watcher = Watcher()
        watchers = self._watchers.setdefault(tenant, set())
        watchers.add(watcher)
        if len(watchers) == 1:
            self._subscriptions[tenant] = self._subscribe(tenant, watchers)
        elif not self.line.alone:
            watcher.gap()  # whether the subscription stands already, only who began it knows
        try:
            yield watcher
        finally:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[tenant]
                self._subscriptions.pop(tenant)()

    def _subscribe(self, tenant: str, watchers: set[Watcher]) -> Callable[[], None]:
        def heard(message: bytes) -> None:
            event = read(_decoder, message)
            if event is None:
                gap()
            elif tenant in (event.tenant, EVERYBODY):
                for watcher in watchers:
                    watcher.put(event)

        def gap() -> None:
            for watcher in watchers:
                watcher.gap()

        return self.line.subscribe(channel(tenant), heard, gap)
