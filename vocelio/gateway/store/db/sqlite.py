"""SQLite: the engine, connections that leave nothing behind when closed, and a diagnosis of a held write lock.

A statement that is given up (its task is cancelled, or it takes too long) is interrupted, and its transaction is rolled
back on the connection's own thread before the connection is dropped. Without that, SQLite keeps a closed connection
with its transaction and the write lock for as long as any cursor of it exists, and a cursor survives in the traceback
of the cancellation until Python's garbage collector finds it.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import msgspec
from sqlalchemy import Connection, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from vocelio.gateway.errors import SettingsError
from vocelio.gateway.store.db.termination import close_in_background

LOG = logging.getLogger(__name__)

LOCK_TIMEOUT_SECONDS = 2.0  # for the write lock: a commit takes milliseconds, and a call's save may take 3 s in all
SLOW_LOCK_SECONDS = 1.0  # a longer wait for the write lock is logged, with its holder
INTERRUPT_INTERVAL_SECONDS = 0.02  # an interrupt does not reach a statement that its thread has yet to start
MAX_ROLLBACK_ATTEMPTS = 3  # the first may be hit by an interrupt that was meant for the statement before it


class RollingBackConnection(sqlite3.Connection):
    """A connection whose ``close`` releases its locks, whoever still refers to its cursors."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        self._closing = False

    def cursor(self, *args: Any, **options: Any) -> Any:
        cursor = super().cursor(*args, **options)
        self._cursors.add(cursor)
        return cursor

    def interrupt(self) -> None:
        """Interrupt the running statement, from any thread; without an effect once the connection closes."""
        if not self._closing:
            super().interrupt()

    def close(self) -> None:
        self._closing = True
        for cursor in list(self._cursors):
            with suppress(sqlite3.Error):
                cursor.close()
        for _ in range(MAX_ROLLBACK_ATTEMPTS):
            with suppress(sqlite3.Error):
                self.rollback()
                break
        super().close()


class Dialect(SQLiteDialect_aiosqlite):
    """SQLAlchemy's dialect, but that a terminated connection is interrupted and closed to the end."""

    supports_statement_cache = True

    def do_terminate(self, dbapi_connection: Any) -> None:
        if not close_in_background(dbapi_connection, _interrupt_and_close):
            super().do_terminate(dbapi_connection)


async def _interrupt_and_close(driver: Any) -> None:
    """Close an aiosqlite connection, which runs its statements one after another on a thread of its own."""
    closing = asyncio.ensure_future(driver.close())
    while not closing.done():
        with suppress(ValueError, sqlite3.Error):  # closed meanwhile
            await driver.interrupt()
        await asyncio.wait({closing}, timeout=INTERRUPT_INTERVAL_SECONDS)
    with suppress(ValueError, sqlite3.Error):  # closed already
        await closing


registry.register("sqlite.vocelio", __name__, Dialect.__name__)


class _Writer(msgspec.Struct, frozen=True, eq=False):
    """A transaction that holds the write lock, since an instant of the monotonic clock."""

    name: str
    since: float


class _WriteLock:
    """Takes the write lock at the begin of a transaction, and logs who holds it if that takes long.

    Only transactions of the same pool are known.
    """

    def __init__(self) -> None:
        self._holder: _Writer | None = None

    def acquire(self, connection: Connection) -> None:
        started, holder = time.monotonic(), self._holder
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            self._log_if_slow(started, self._holder, "gave up after")
            raise
        self._log_if_slow(started, holder, "waited")
        task = asyncio.current_task()
        name = getattr(task.get_coro(), "__qualname__", "") if task else ""
        self._holder = connection.info["writer"] = _Writer(name, time.monotonic())

    def on_checkin(self, _: object, record: Any) -> None:
        writer = record.info.pop("writer", None)
        if writer is not None and writer is self._holder:
            self._holder = None

    def _log_if_slow(self, started: float, holder: _Writer | None, what: str) -> None:
        now = time.monotonic()
        if now - started < SLOW_LOCK_SECONDS:
            return
        held = (
            f"{holder.name} holds it since {now - holder.since:.1f} s" if holder else "another process or pool had it"
        )
        LOG.warning("database is locked: %s %.1f s for the write lock of SQLite; %s", what, now - started, held)


def create_sqlite_engine(url: URL, pool_options: Mapping[str, Any]) -> AsyncEngine:
    """Create an engine with a write-ahead log, so that readers never wait. Writers take turns at BEGIN IMMEDIATE.

    A transaction that reads before it writes would fail if another one has written in between.
    """
    if not url.database or url.database == ":memory:":
        raise SettingsError("VOCELIO_DATABASE_URL needs a file: sqlite+aiosqlite:///vocelio.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url.set(drivername="sqlite+vocelio"),
        connect_args={"timeout": LOCK_TIMEOUT_SECONDS, "factory": RollingBackConnection},
        hide_parameters=True,
        **pool_options,
    )
    write_lock = _WriteLock()

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("writing"):
            write_lock.acquire(connection)

    event.listen(engine.sync_engine, "checkin", write_lock.on_checkin)
    return engine
