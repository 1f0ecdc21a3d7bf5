"""What all monitors of one tenant in this process share: its events, and its calls' pictures.

Events may be lost: with a process that is killed, with Redis, with a watcher that is too slow. So the store is looked
into again and again (see look), and whatever the pictures show differently is set right and told. An event is encoded
once, however many watch.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import Any

import msgspec

from vocelio.gateway.clock import WallClock, to_rfc3339
from vocelio.gateway.events import Event, EventBus, Subscription
from vocelio.gateway.monitors.call_view import DURABLE_TYPES, CallView, CallViewTracker, EventFilter, build_message
from vocelio.gateway.monitors.send_queue import SendQueue
from vocelio.gateway.store.calls.live import CallKey, LiveCallRow

LOG = logging.getLogger(__name__)

MAX_ROWS_PER_BATCH = 100  # calls whose pictures are set right, and told, in one go
MAX_MISSED_REFRESHES = 60  # looks that do not find a call in the store
ENDED_RETENTION_SECONDS = 60.0  # that calls are shown after their end, some seconds more or less
MAX_MESSAGES_PER_SLICE = 2_000  # messages put into outboxes, a millisecond's work: then calls have their turn


class TenantFeed:
    """One tenant's, or everybody's. Runs from ``start`` to ``aclose``.

    ``hurry`` asks for a look into the store: at once or soon.
    """

    def __init__(self, tenant: str, bus: EventBus, wall: WallClock, request_refresh: Callable[[bool], None]) -> None:
        self.tenant = tenant
        self.queues: set[SendQueue] = set()
        self.ready = asyncio.Event()  # the store has been read
        self._bus, self._wall, self._notify_reconciler = bus, wall, request_refresh
        self.refresh_requested = False  # a look is asked for
        self.unreported_gaps = 0  # that monitors have not been told of
        self._trackers: dict[CallKey, CallViewTracker] = {}
        self._task: asyncio.Task[None] | None = None
        self._subscribed = bus.pubsub.is_local  # what other processes tell is heard

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()  # what it logs is not about the request of the first monitor
        self._task = loop.create_task(self._run(), name=f"monitors of {self.tenant}", context=Context())
        self._request_refresh(immediately=True)

    async def aclose(self) -> None:
        """End at once."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def call_views(self) -> list[CallView]:
        """Of the calls that go on, and of those that have ended just now."""
        return [tracked.view for tracked in self._trackers.values() if tracked.complete]

    def add_queue(self, event_filter: EventFilter) -> SendQueue:
        """For one more monitor, which begins with a snapshot."""
        made = SendQueue(event_filter, self.call_views, self._wall)
        self.queues.add(made)
        return made

    def _request_refresh(self, *, immediately: bool = False) -> None:
        self.refresh_requested = True
        self._notify_reconciler(immediately)

    # Events

    async def _run(self) -> None:
        async with self._bus.subscribe(self.tenant) as watcher:
            while True:
                await self._apply_batch(watcher)

    async def _apply_batch(self, subscription: Subscription) -> None:
        events, lost = await subscription.get_batch()
        done = 0
        for event in events:
            try:
                self._apply_event(event)
            except Exception:  # a process of another release may tell things differently: the store is the authority
                LOG.exception("an event of the type %s could not be shown", event.type[:40])
                # What has half moved is not known any more: the next look tells all of it.
                self._trackers[event.tenant, event.call] = CallViewTracker(event.tenant, event.call)
                self._request_refresh()
            done += len(self.queues)
            if done > MAX_MESSAGES_PER_SLICE:
                done = 0
                await asyncio.sleep(0)
        if lost:
            self.unreported_gaps += self._subscribed  # the first is no gap: from here on nothing should be missing
            self._subscribed = True
            self._request_refresh()

    def _apply_event(self, event: Event) -> None:
        picture = None
        if event.call:
            tracked = self._tracker(event.tenant, event.call)
            picture = tracked.view
            if not tracked.apply_event(event):
                self._request_refresh()
        message = _encode_event(event)
        instead = ""
        for outbox in self.queues:
            if outbox.event_filter.matches_event(event, picture):
                outbox.put(message)
            elif picture and event.type in DURABLE_TYPES and outbox.event_filter.matches_call(picture):
                instead = instead or _encode_changes([build_message(picture)])  # the type is not wanted, but it moves
                outbox.put(instead)

    def _tracker(self, tenant: str, call: str) -> CallViewTracker:
        tracked = self._trackers.get((tenant, call))
        if tracked is None:
            tracked = self._trackers[tenant, call] = CallViewTracker(tenant, call)
        return tracked

    # The store

    def find_missing(self, stored_rows: Sequence[LiveCallRow]) -> list[CallKey]:
        """Calls that go on as far as is known here, and are not among those ``found`` to."""
        there = {row.key for row in stored_rows}
        return [key for key, tracked in self._trackers.items() if key not in there and not tracked.final]

    async def apply_snapshot(self, rows: Sequence[LiveCallRow], reported_gaps: int) -> None:
        """The store was read: all calls that go on, those that were ``missing``, and maybe some that have ended.

        ``gaps`` is how many there were before that: monitors are told of them now, and see where things are.
        """
        for place in range(0, len(rows), MAX_ROWS_PER_BATCH):
            self._apply_rows(rows[place : place + MAX_ROWS_PER_BATCH])
            await asyncio.sleep(0)
        self._drop_finished({row.key for row in rows})
        if reported_gaps:
            self.unreported_gaps -= reported_gaps
            for outbox in self.queues:
                outbox.reset_with_gap()
        self.ready.set()

    def _apply_rows(self, rows: Iterable[LiveCallRow]) -> None:
        now, made = asyncio.get_running_loop().time(), list[tuple[CallView, dict[str, Any]]]()
        for row in rows:
            tracked = self._tracker(row.tenant, row.call)
            is_new = not tracked.complete
            if changed := tracked.apply_row(row, now):
                picture = tracked.view
                made.append((picture, build_message(picture, None if is_new else changed)))
        if not made:
            return
        everything = _encode_changes([message for _, message in made])
        for outbox in self.queues:
            if outbox.event_filter.is_unfiltered:
                outbox.put(everything)
            elif mine := [message for picture, message in made if outbox.event_filter.matches_call(picture)]:
                outbox.put(_encode_changes(mine))

    def _drop_finished(self, stored_keys: set[CallKey]) -> None:
        """Calls that ended a while ago, and those that there were events of but which the store does not know."""
        before = self._wall() - round(ENDED_RETENTION_SECONDS * 1e6)
        for key, tracked in list(self._trackers.items()):
            ended = tracked.view.ended_at
            tracked.missed_refreshes = 0 if key in stored_keys or tracked.final else tracked.missed_refreshes + 1
            if tracked.missed_refreshes > MAX_MISSED_REFRESHES or (
                tracked.final and ended is not None and ended < before
            ):
                del self._trackers[key]


def _encode_event(event: Event) -> str:
    fields = msgspec.structs.asdict(event) | {"occurred_at": to_rfc3339(event.occurred_at)}
    return msgspec.json.encode({"message": "event", **fields}).decode()


def _encode_changes(changes: list[dict[str, Any]]) -> str:
    return msgspec.json.encode({"message": "changes", "calls": changes}).decode()
