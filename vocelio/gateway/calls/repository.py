"""The repository of calls: finds, loads, claims and saves them in the call store.

The store refuses a save by a stream that does not own the call any more, in whichever process the newer stream is.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from vocelio.gateway.aio.tasks import TaskSet
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import Directory
from vocelio.gateway.store.calls.interface import CallStore, StoredCall, noop

LOG = logging.getLogger(__name__)

SAVE_TIMEOUT_SECONDS = 2.0  # of a new call: its caller hears nothing before it is committed


class CallRepository:
    """Repository of one process. Every coroutine raises DatabaseUnavailable."""

    def __init__(self, call_store: CallStore, directory: Directory, wall_clock: WallClock) -> None:
        self._call_store, self._directory, self._wall_clock = call_store, directory, wall_clock
        self._tasks = TaskSet()  # one for each refused save; each is short

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        """Return the account's call as it was saved last, by any process."""
        return await self._call_store.find(call, account_sid)

    async def load(self, stored: StoredCall) -> CallRecord | None:
        """Return the record with which a stored call continues; None when its flow cannot be run any more."""
        config = await self._directory.get_resume_config(
            stored.tenant, stored.number, stored.flow, stored.version, stored.started_at
        )
        return CallRecord.from_stored(stored, config) if config else None

    async def claim(self, stored: StoredCall) -> bool:
        """Become the owner of a call without a stream, for its next change; False when it has changed since."""
        return await self._call_store.claim(stored)

    def save(
        self, record: CallRecord, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        """Save the record in the background. ``on_superseded`` is called when another stream owns the call.

        A call that another process ended, for want of a sign of life, is saved again.
        """
        snapshot = record.snapshot(self._wall_clock())

        def on_refused() -> None:
            conflict = self._resolve_conflict(record, snapshot, on_committed, on_superseded)
            self._tasks.start(defer_to_reaper(conflict), "save conflict")

        self._call_store.save(snapshot, on_committed, on_refused)

    async def _resolve_conflict(
        self,
        record: CallRecord,
        refused: StoredCall,
        on_committed: Callable[[], None],
        on_superseded: Callable[[], None],
    ) -> None:
        current = await self.find(record.stored.id, record.stored.account_sid)
        if current is None or current.generation != record.stored.generation or current.is_over:
            on_superseded()
            return
        record.undo_snapshot(refused, current)
        self.save(record, on_committed, on_superseded)

    async def save_and_wait(self, record: CallRecord) -> None:
        """Save, and wait until that or a later state of the call is committed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_done() -> None:
            if not done.done():
                done.set_result(None)

        self.save(record, on_done, on_done)
        try:
            await asyncio.wait_for(done, SAVE_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise DatabaseUnavailable from error

    async def aclose(self) -> None:
        """Cancel what waits for the store."""
        self._tasks.close()
        await self._tasks.wait_closed()


async def defer_to_reaper(work: Coroutine[Any, Any, None]) -> None:
    """Run the work unless the database is unavailable: the reaper of any process finds later what was left."""
    try:
        await work
    except DatabaseUnavailable:
        LOG.warning("database unavailable: call cleanup deferred to the reaper")
