"""The feed that all monitors of one tenant in this process share: its events and the views of its calls.

Events can be lost with a killed process, with Redis or in a slow subscription. So the reconciler reads the database
again and again, and whatever the views show differently is corrected and sent. An event is encoded once for all
monitors.
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

MAX_ROWS_PER_BATCH = 100  # rows applied and sent without yielding to other tasks
MAX_MISSED_REFRESHES = 60  # refreshes without the call in the database, after which its view is dropped
ENDED_RETENTION_SECONDS = 60.0  # how long ended calls stay in the view, give or take some seconds
MAX_MESSAGES_PER_SLICE = 2_000  # messages queued, about a millisecond, without yielding to live calls


class TenantFeed:
    """The feed of one tenant, or of all.

    ``request_refresh`` asks the reconciler to read the database: immediately (True) or soon.
    """

    def __init__(self, tenant: str, bus: EventBus, wall: WallClock, request_refresh: Callable[[bool], None]) -> None:
        self.tenant = tenant
        self.queues: set[SendQueue] = set()
        self.ready = asyncio.Event()  # the database has been read
        self._bus, self._wall, self._notify_reconciler = bus, wall, request_refresh
        self.refresh_requested = False  # until the reconciler takes it up
        self.unreported_gaps = 0  # gaps that monitors have not been told of
        self._trackers: dict[CallKey, CallViewTracker] = {}
        self._task: asyncio.Task[None] | None = None
        self._subscribed = bus.pubsub.is_local  # whether events of other processes arrive

    def start(self) -> None:
        loop = asyncio.get_running_loop()  # an empty log context: the feed outlives the first monitor's request
        self._task = loop.create_task(self._run(), name=f"monitors of {self.tenant}", context=Context())
        self._request_refresh(immediately=True)

    async def aclose(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def call_views(self) -> list[CallView]:
        """Return the views of live calls and of those that ended recently."""
        return [tracker.view for tracker in self._trackers.values() if tracker.complete]

    def add_queue(self, event_filter: EventFilter) -> SendQueue:
        """Add the queue of a monitor, which starts with a snapshot."""
        queue = SendQueue(event_filter, self.call_views, self._wall)
        self.queues.add(queue)
        return queue

    def _request_refresh(self, *, immediately: bool = False) -> None:
        self.refresh_requested = True
        self._notify_reconciler(immediately)

    # Events

    async def _run(self) -> None:
        async with self._bus.subscribe(self.tenant) as subscription:
            while True:
                await self._apply_batch(subscription)

    async def _apply_batch(self, subscription: Subscription) -> None:
        events, lost = await subscription.get_batch()
        queued = 0
        for event in events:
            try:
                self._apply_event(event)
            except Exception:  # a process of another release may send other data; the database is the authority
                LOG.exception("event %s could not be applied; reading the call from the database", event.type[:40])
                # The view may be half changed: start over, the next refresh sends all fields.
                self._trackers[event.tenant, event.call] = CallViewTracker(event.tenant, event.call)
                self._request_refresh()
            queued += len(self.queues)
            if queued > MAX_MESSAGES_PER_SLICE:
                queued = 0
                await asyncio.sleep(0)
        if lost:
            self.unreported_gaps += self._subscribed  # the first one only says that the subscription has started
            self._subscribed = True
            self._request_refresh()

    def _apply_event(self, event: Event) -> None:
        view = None
        if event.call:
            tracker = self._tracker(event.tenant, event.call)
            view = tracker.view
            if not tracker.apply_event(event):
                self._request_refresh()
        message = _encode_event(event)
        changes = ""
        for queue in self.queues:
            if queue.event_filter.matches_event(event, view):
                queue.put(message)
            elif view and event.type in DURABLE_TYPES and queue.event_filter.matches_call(view):
                changes = changes or _encode_changes([build_message(view)])  # the type is filtered out, the call is not
                queue.put(changes)

    def _tracker(self, tenant: str, call: str) -> CallViewTracker:
        tracker = self._trackers.get((tenant, call))
        if tracker is None:
            tracker = self._trackers[tenant, call] = CallViewTracker(tenant, call)
        return tracker

    # The database

    def find_missing(self, stored_rows: Sequence[LiveCallRow]) -> list[CallKey]:
        """Return the calls that are live here, but not among the live rows of the database."""
        stored = {row.key for row in stored_rows}
        return [key for key, tracker in self._trackers.items() if key not in stored and not tracker.final]

    async def apply_snapshot(self, rows: Sequence[LiveCallRow], reported_gaps: int) -> None:
        """Apply what was read: all live calls, those returned by ``find_missing``, and possibly some that have ended.

        ``reported_gaps`` is the number of gaps before the read: monitors are told of them now, with a snapshot.
        """
        for start in range(0, len(rows), MAX_ROWS_PER_BATCH):
            self._apply_rows(rows[start : start + MAX_ROWS_PER_BATCH])
            await asyncio.sleep(0)
        self._drop_finished({row.key for row in rows})
        if reported_gaps:
            self.unreported_gaps -= reported_gaps
            for queue in self.queues:
                queue.reset_with_gap()
        self.ready.set()

    def _apply_rows(self, rows: Iterable[LiveCallRow]) -> None:
        now, changes = asyncio.get_running_loop().time(), list[tuple[CallView, dict[str, Any]]]()
        for row in rows:
            tracker = self._tracker(row.tenant, row.call)
            is_new = not tracker.complete
            if changed := tracker.apply_row(row, now):
                changes.append((tracker.view, build_message(tracker.view, None if is_new else changed)))
        if not changes:
            return
        all_changes = _encode_changes([message for _, message in changes])
        for queue in self.queues:
            if queue.event_filter.is_unfiltered:
                queue.put(all_changes)
            elif matching := [message for view, message in changes if queue.event_filter.matches_call(view)]:
                queue.put(_encode_changes(matching))

    def _drop_finished(self, stored_keys: set[CallKey]) -> None:
        """Drop calls that ended a while ago, and those known by events only that the database does not have."""
        oldest = self._wall() - round(ENDED_RETENTION_SECONDS * 1e6)
        for key, tracker in list(self._trackers.items()):
            ended_at = tracker.view.ended_at
            tracker.missed_refreshes = 0 if key in stored_keys or tracker.final else tracker.missed_refreshes + 1
            is_old = tracker.final and ended_at is not None and ended_at < oldest
            if is_old or tracker.missed_refreshes > MAX_MISSED_REFRESHES:
                del self._trackers[key]


def _encode_event(event: Event) -> str:
    fields = msgspec.structs.asdict(event) | {"occurred_at": to_rfc3339(event.occurred_at)}
    return msgspec.json.encode({"message": "event", **fields}).decode()


def _encode_changes(changes: list[dict[str, Any]]) -> str:
    return msgspec.json.encode({"message": "changes", "calls": changes}).decode()
