"""Write-behind call store: saves and events are buffered and committed in groups.

There are at most 50 commits a second, so that under load many calls share one. Of a call that is saved several times
between two commits, the last state is written. While the database is unavailable everything stays buffered and is
retried. Only the timelines could then grow without bound, so they are limited to the newest events; calls with their
costs are all kept, since no new calls are accepted meanwhile.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.store.calls import batch
from vocelio.gateway.store.calls.batch import CallKey, PendingWrite, RowValues
from vocelio.gateway.store.calls.interface import StatusReport, StoredCall, noop
from vocelio.gateway.store.calls.ownership import CallOwnershipQueries
from vocelio.gateway.store.db.database import Database, is_data_error

LOG = logging.getLogger(__name__)

BATCH_INTERVAL_SECONDS = 0.02  # between two commits: a single save is written at once, simultaneous ones together
COMMIT_TIMEOUT_SECONDS = 6.0  # longer than a statement may take: past it the commit is taken for lost and repeated
RETRY_INTERVAL_SECONDS = 0.5
MAX_CALLS_PER_COMMIT, MAX_EVENTS_PER_COMMIT = 1_000, 500  # so that no commit takes long
MAX_PENDING_EVENTS = 100_000  # some 50 MB: half an hour of 50 calls
CLOSE_TIMEOUT_SECONDS = 1.5  # a process has ten to exit, and draining its calls takes most of them
QUERY_TIMEOUT_SECONDS = 2.0  # of a query about one call: Twilio waits for it, and the caller with it

T = TypeVar("T")


class WriteBehindCallStore:
    """The CallStore on a database. ``dropped`` counts events that were dropped and writes that were refused."""

    def __init__(self, database: Database, cipher: SecretCipher) -> None:
        self._database, self._queries = database, CallOwnershipQueries(cipher)
        self._pending_calls: dict[CallKey, PendingWrite] = {}  # one for each call that changed
        self._in_flight: dict[CallKey, PendingWrite] = {}  # those of the current commit
        self._commit_done = asyncio.Event()  # set, and replaced, after each commit
        self._pending_events: deque[RowValues] = deque()  # at most MAX_PENDING_EVENTS: past it the oldest is dropped
        self._wakeup = asyncio.Event()
        self._next_commit_at = 0.0  # loop time before which there is no other commit
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.dropped = 0

    # Saving

    def save(
        self, call: StoredCall, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        callbacks = [] if on_committed is on_superseded is noop else [(on_committed, on_superseded)]
        row = batch.call_row(call, self._queries.encrypt_state(call))
        write = PendingWrite(row, batch.usage_rows(call), call.log, callbacks)
        earlier = self._pending_calls.get(write.key)
        self._pending_calls[write.key] = write.merged_after(earlier) if earlier else write
        self._wakeup.set()

    def append_event(self, event: Event, flow: str) -> None:
        if len(self._pending_events) >= MAX_PENDING_EVENTS:
            self._pending_events.popleft()
            self.dropped += 1
        self._pending_events.append(batch.event_row(event, flow))
        self._wakeup.set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="call store")

    async def aclose(self) -> None:
        """Write what is pending; what the database does not take within CLOSE_TIMEOUT_SECONDS is lost, and logged."""
        if self._task is None:
            return
        self._closing = True
        self._wakeup.set()
        _, unfinished = await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT_SECONDS)
        if unfinished:
            LOG.error(
                "database unavailable at shutdown: %d calls and %d events were not saved",
                len(self._pending_calls),
                len(self._pending_events),
            )
            self._task.cancel()
            await asyncio.wait(unfinished)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self._closing and not self._pending_calls and not self._pending_events):
            await self._wakeup.wait()
            await asyncio.sleep(0 if self._closing else max(0.0, self._next_commit_at - loop.time()))
            self._next_commit_at = loop.time() + BATCH_INTERVAL_SECONDS
            if not await self._write_batch():
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            elif not self._pending_calls and not self._pending_events and not self._closing:
                self._wakeup.clear()

    async def _write_batch(self) -> bool:
        """Commit the next batch and call its callbacks; put it back and return False if that failed."""
        writes = self._in_flight = {
            key: self._pending_calls.pop(key) for key in list(self._pending_calls)[:MAX_CALLS_PER_COMMIT]
        }
        events = [self._pending_events.popleft() for _ in range(min(MAX_EVENTS_PER_COMMIT, len(self._pending_events)))]
        try:
            results = await self._commit_all(list(writes.values()), events)
        except Exception as error:  # whatever it is: nothing that was saved is lost by it, and writing continues
            if not isinstance(error, DatabaseUnavailable):
                LOG.exception("could not write %d calls and %d events; retrying", len(writes), len(events))
            self._requeue(writes, events)
            return False
        finally:
            self._in_flight = {}
            self._commit_done.set()
            self._commit_done = asyncio.Event()
        loop = asyncio.get_running_loop()
        for write, is_written in results:
            for on_committed, on_superseded in write.callbacks:
                loop.call_soon(on_committed if is_written else on_superseded)  # their exceptions are not ours
        await asyncio.sleep(0)  # the callbacks may save more
        return True

    def _requeue(self, failed: dict[CallKey, PendingWrite], events: list[RowValues]) -> None:
        """Put a batch back in front; callbacks of an earlier state of a call wait for its later one."""
        later, self._pending_calls = self._pending_calls, failed
        for key, write in later.items():
            self._pending_calls[key] = write.merged_after(failed[key]) if key in failed else write
        self._pending_events.extendleft(reversed(events))

    async def _commit_all(
        self, pending: list[PendingWrite], events: list[RowValues]
    ) -> list[tuple[PendingWrite, bool]]:
        """Commit all together; if the database refuses the data, each alone, so that only the bad ones are dropped.

        Returns which of the calls were written and which are superseded. Raises DatabaseUnavailable.
        """
        logs = {write.key: await asyncio.to_thread(batch.log_row, write) for write in pending if write.log}
        try:
            written = await self._commit(pending, logs, events)
            return [(write, write.key in written) for write in pending]
        except SQLAlchemyError as error:
            if not is_data_error(error):
                raise
        results = []
        for write in pending:
            written_alone = await self._commit_alone(write.call_row["id"], self._commit([write], logs, []))
            if written_alone is not None:
                results.append((write, write.key in written_alone))
        for row in events:
            await self._commit_alone(row["call_id"], self._commit([], {}, [row]))
        return results

    async def _commit_alone(self, call: str, commit: Coroutine[Any, Any, set[CallKey]]) -> set[CallKey] | None:
        try:
            return await commit
        except SQLAlchemyError as error:
            if not is_data_error(error):
                raise
            self.dropped += 1
            LOG.exception("call %s: the database refused a row (%s); dropped", call, type(error).__name__)
            return None

    async def _commit(
        self, pending: list[PendingWrite], logs: dict[CallKey, RowValues], events: list[RowValues]
    ) -> set[CallKey]:
        commit = batch.commit_batch(self._database, pending, logs, events)
        return await self._database.with_timeout(commit, COMMIT_TIMEOUT_SECONDS)

    # Queries about calls of any process

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        return await self._with_timeout(self._find(call, account_sid))

    async def take_over(
        self, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        return await self._with_timeout(self._take_over(tenant, call, account_sid, generation, due_at))

    async def claim(self, stored: StoredCall) -> bool:
        return await self._with_timeout(self._run_change(self._queries.claim, stored))

    async def close(self, stored: StoredCall, ended_at: int, outcome: str) -> StoredCall | None:
        return await self._with_timeout(self._run_change(self._queries.close, stored, ended_at, outcome))

    async def record_status(
        self, account_sid: str, call: str, status: StatusReport, due_at: int, generation: int | None = None
    ) -> None:
        change = self._run_change(self._queries.record_status, account_sid, call, status, due_at, generation)
        await self._with_timeout(change)

    async def find_expired(self, now: int, limit: int, unreadable_before: int) -> Sequence[StoredCall]:
        return await self._with_timeout(self._run_read(self._queries.find_expired, now, limit, unreadable_before))

    async def purge_state(self, before: int) -> None:
        await self._with_timeout(self._run_change(self._queries.purge_state, before))

    async def count_live(self, tenant: str, due_after: int) -> int:
        return await self._with_timeout(self._run_read(self._queries.count_live, tenant, due_after))

    async def _with_timeout(self, query: Coroutine[Any, Any, T]) -> T:
        return await self._database.with_timeout(query, QUERY_TIMEOUT_SECONDS)

    async def _find(self, call: str, account_sid: str) -> StoredCall | None:
        await self._wait_written(call)
        return await self._run_read(self._queries.find, call, account_sid)

    async def _take_over(self, tenant: str, call: str, *arguments: Any) -> StoredCall | None:
        await self._wait_written(call)
        return await self._run_change(self._queries.take_over, tenant, call, *arguments)

    async def _wait_written(self, call: str) -> None:
        """Wait until this process's saves of the call are written, so that the query sees them."""
        while any(key[1] == call for key in (*self._pending_calls, *self._in_flight)):
            await self._commit_done.wait()

    async def _run_read(self, query: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        async with self._database.read() as connection:
            return await query(connection, *arguments)

    async def _run_change(self, change: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        async with self._database.autocommit() as connection:
            return await change(connection, *arguments)
