"""SQLite or PostgreSQL behind one small interface.

    async with database.read() as connection: ...           # each statement sees what is committed by then
    async with database.transaction() as connection: ...    # commits at the end of the block, or nothing at all

Driver errors of a database that is unreachable, stalled or full become DatabaseUnavailable, within bounded time:
``with_timeout`` stops waiting while the driver still cleans up (asyncpg may wait for a stalled server to confirm a
cancellation, which no caller should wait for). A transaction that is given up is rolled back at once (``termination``).
Errors of the statement itself, such as IntegrityError, stay SQLAlchemy's, for the caller to handle.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

from sqlalchemy import Connection, Row, Select, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import Table

from vocelio.gateway.errors import DatabaseUnavailable, Overloaded, SettingsError
from vocelio.gateway.store.db.postgresql import CONNECT_TIMEOUT_SECONDS, create_postgresql_engine
from vocelio.gateway.store.db.sqlite import create_sqlite_engine

LOG = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_TIMEOUT_SECONDS = 0.5
CALL_POOL = {"pool_size": 10, "max_overflow": 10, "pool_timeout": CONNECT_TIMEOUT_SECONDS}
API_POOL = {"pool_size": 8, "max_overflow": 0, "pool_timeout": 3.0}  # some hundred queries are answered within 3 s
"""Connection pools of one process. The API has its own, so that slow queries cannot starve live calls."""
NO_POOL_OPTIONS = {"poolclass": NullPool}
MIGRATION_LOCK_ID = 7_260_125  # arbitrary: processes that start at the same time migrate one after another


class Database:
    """A pool of database connections. ``url`` is an SQLAlchemy URL for aiosqlite or asyncpg. Raises SettingsError."""

    def __init__(self, url: str, pool_options: Mapping[str, Any] = CALL_POOL) -> None:
        parsed = _parse_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._url = parsed
        create_engine = create_sqlite_engine if self.is_sqlite else create_postgresql_engine
        self._engine = create_engine(parsed, pool_options)
        self._dedicated_engine = create_engine(parsed, NO_POOL_OPTIONS)
        # A transaction around a read costs two more round trips, or thread switches, and most reads are one statement.
        read_options: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._read_engine = self._engine.execution_options(**read_options)
        self._dedicated_engine = self._dedicated_engine.execution_options(**read_options)
        self._write_engine = self._engine.execution_options(writing=True)
        self._dedicated_connections: set[AsyncConnection] = set()  # one or two
        self._abandoned: set[asyncio.Task[Any]] = set()  # at most one for each connection of the pool

    async def migrate(self, revision: str = "head") -> None:
        """Migrate the tables to a revision. Concurrent processes take turns, however long that takes."""
        # Importing Alembic takes 0.2 s, which workers are spared: their parent process has migrated.
        from vocelio.gateway.store.db import migrate

        steps = partial(migrate.migrate, revision=revision)
        engine = (
            create_sqlite_engine(self._url, NO_POOL_OPTIONS)
            if self.is_sqlite
            else create_postgresql_engine(self._url, NO_POOL_OPTIONS, statement_timeout_seconds=None)
        )
        try:
            with self.map_errors():
                await (self._migrate_sqlite if self.is_sqlite else self._migrate_postgresql)(engine, steps)
        finally:
            await engine.dispose()

    async def _migrate_sqlite(self, engine: AsyncEngine, run_migrations: Callable[[Connection], None]) -> None:
        """Migrate with foreign keys off: altering a table copies and drops it, which must not delete the rows that
        refer to it.
        """
        async with engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # has no effect within a transaction
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            await connection.run_sync(run_migrations)
            violations = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).all()
            if violations:
                raise SettingsError(f"the migration would break {len(violations)} foreign keys; nothing was changed")
            await connection.exec_driver_sql("COMMIT")

    async def _migrate_postgresql(self, engine: AsyncEngine, run_migrations: Callable[[Connection], None]) -> None:
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK_ID})"))
            await connection.run_sync(run_migrations)

    async def get_revision(self) -> str:
        """Return the revision of the tables, empty when there are none. A missing file is not created."""
        from vocelio.gateway.store.db import migrate  # lazily, as in migrate()

        if self._is_file_missing():
            return ""
        async with self.read() as connection:
            return await connection.run_sync(migrate.revision)

    def _is_file_missing(self) -> bool:
        return self.is_sqlite and not Path(self._url.database or "").exists()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Connect for reading, outside any transaction. Raises DatabaseUnavailable."""
        with self.map_errors():
            async with self._read_engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction, which is committed when the block ends without an error. Raises DatabaseUnavailable."""
        with self.map_errors():
            async with self._write_engine.begin() as connection:
                yield connection

    def autocommit(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Connect for a single statement that is its own transaction. Raises DatabaseUnavailable.

        On PostgreSQL that saves the two round trips of BEGIN and COMMIT.
        """
        return self.transaction() if self.is_sqlite else self.read()

    async def open_dedicated(self) -> AsyncConnection:
        """Open a connection for reading that stays open until it is discarded. Raises the driver's errors.

        It is never one of the pool: after a failover all of those may be dead without knowing it.
        """
        connection = await self._dedicated_engine.connect()
        self._dedicated_connections.add(connection)
        return connection

    def discard(self, connection: AsyncConnection) -> None:
        """Close a connection that is broken or still busy, without waiting."""
        self._dedicated_connections.discard(connection)
        task = asyncio.ensure_future(_close_invalidated(connection))
        self._abandoned.add(task)
        task.add_done_callback(self._on_abandoned_done)

    @contextmanager
    def map_errors(self) -> Iterator[None]:
        """Turn errors of an unavailable database into DatabaseUnavailable; errors of the statement pass."""
        try:
            yield
        except PoolTimeoutError as error:
            LOG.warning("no database connection became free in time")
            raise Overloaded from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if isinstance(error, SQLAlchemyError) and is_statement_error(error):
                raise
            LOG.warning("database unavailable: %s", str(error).partition("\n")[0])
            raise DatabaseUnavailable from error

    async def with_timeout(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        """Return the coroutine's result. Raises DatabaseUnavailable when it takes too long.

        A coroutine that takes too long is cancelled but not awaited.
        """
        task = asyncio.ensure_future(coroutine)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                self._abandoned.add(task)
                task.add_done_callback(self._on_abandoned_done)
                task.cancel()
        if not task.done():
            raise DatabaseUnavailable
        return task.result()

    def _on_abandoned_done(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    def upsert(self, table: Table) -> Any:
        """Return the dialect's INSERT, which has ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def aclose(self) -> None:
        """Close every connection; one that hangs is abandoned after CLOSE_TIMEOUT_SECONDS."""
        for connection in list(self._dedicated_connections):
            self.discard(connection)
        closing: list[Awaitable[Any]] = [*self._abandoned, self._engine.dispose()]
        _, unfinished = await asyncio.wait(map(asyncio.ensure_future, closing), timeout=CLOSE_TIMEOUT_SECONDS)
        for task in unfinished:
            LOG.warning("database connection did not close within %s s; abandoning it", CLOSE_TIMEOUT_SECONDS)
            task.cancel()


def is_data_error(error: SQLAlchemyError) -> bool:
    """Whether the database rejected the rows: their values (SQLSTATE 22) or their references (23)."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", ""))
    return isinstance(error, IntegrityError | DataError) or state[:2] in ("22", "23")


async def _close_invalidated(connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()


def is_statement_error(error: SQLAlchemyError) -> bool:
    """Whether the database rejected the statement, so that repeating it would fail again.

    By SQLSTATE, where there is one: invalid data (22), constraints (23), invalid statements (42).
    """
    state = str(getattr(getattr(error, "orig", None), "sqlstate", ""))
    return isinstance(error, IntegrityError | DataError | ProgrammingError) or state[:2] in ("22", "23", "42")


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "VOCELIO_DATABASE_URL is not a valid database URL"
        ) from None  # no details: the URL may contain a password
    if parsed.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise SettingsError(
            "VOCELIO_DATABASE_URL is sqlite+aiosqlite:///FILE or postgresql+asyncpg://..., "
            f"not one of {parsed.drivername}"
        )
    return parsed


Ts = TypeVarTuple("Ts")


class DedicatedQuery(Generic[*Ts]):
    """The first row of a query that is run again and again, on a connection of its own that stays open.

    For queries that every call waits for: borrowing a pooled connection, testing and returning it takes longer than
    such a query itself. One query runs at a time. A broken connection is discarded and the query is tried once on a new
    one.
    """

    def __init__(self, database: Database, query: "Select[*Ts]") -> None:
        self._database, self._query = database, query
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def first(self, **parameters: Any) -> "Row[*Ts] | None":
        """Return the first row, None if there is none. Raises DatabaseUnavailable."""
        async with self._lock:
            had_connection = self._connection is not None
            try:
                return await self._fetch_first(parameters)
            except DatabaseUnavailable:
                if not had_connection:
                    raise
                return await self._fetch_first(parameters)  # the server was restarted since

    async def _fetch_first(self, parameters: dict[str, Any]) -> "Row[*Ts] | None":
        with self._database.map_errors():
            connection = self._connection or await self._database.open_dedicated()
            self._connection = None  # until the query has succeeded: a cancelled one must not leave a busy connection
            try:
                row = (await connection.execute(self._query, parameters)).first()
            except BaseException:
                self._database.discard(connection)
                raise
            self._connection = connection
            return row
