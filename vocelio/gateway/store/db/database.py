"""The database: SQLite or PostgreSQL behind one small interface.

    async with database.reading() as connection: ...     # each statement sees what is committed by then
    async with database.writing() as connection: ...     # committed when the block ends, or nothing of it is

Whatever the driver throws when the database is gone, stalled or full comes out as StoreUnavailable, and in bounded
time: ``in_time`` gives up waiting, while the driver still tidies up behind it (asyncpg may wait for a server that has
stalled to confirm a cancellation, so waiting for that is never a caller's business). What the database refuses, such as
an IntegrityError, stays SQLAlchemy's: it is the caller's to explain.

A query that every call waits for, on a connection of its own that stays open.

To borrow a connection from the pool, try whether it is still good, and give it back takes longer than the query itself.
So one is kept; one query runs at a time. When it breaks it is thrown away, and the query is tried once on a new one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

from sqlalchemy import Connection, Row, Select, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import Table

from vocelio.gateway.errors import DatabaseUnavailable, SettingsError

LOG = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 3.0
STATEMENT_TIMEOUT_SECONDS = 5.0
IDLE_TRANSACTION_TIMEOUT_MS = (
    "10000"  # in a transaction: then the process that began it is gone, and its locks must go, too
)
POOL_SIZE = 10  # of one process; as many again when it is busy
CLOSE_TIMEOUT_SECONDS = 0.5
POOL_OPTIONS = {"pool_size": POOL_SIZE, "max_overflow": POOL_SIZE, "pool_timeout": CONNECT_TIMEOUT_SECONDS}
NO_POOL_OPTIONS = {"poolclass": NullPool}
MIGRATION_LOCK_ID = 7_260_125  # any number: processes that start together migrate one after the other


class Database:
    """One process's way to its database. ``url`` is SQLAlchemy's, for aiosqlite or asyncpg. Raises SettingsError."""

    def __init__(self, url: str) -> None:
        parsed = _parse_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._url = parsed
        self._engine = _create_sqlite_engine(parsed) if self.is_sqlite else _create_postgresql_engine(parsed)
        self._dedicated_engine = (_create_sqlite_engine if self.is_sqlite else _create_postgresql_engine)(
            parsed, NO_POOL_OPTIONS
        )
        # A transaction around a read costs two more messages, or thread switches, and most reads are one statement.
        alone: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._read_engine = self._engine.execution_options(**alone)
        self._dedicated_engine = self._dedicated_engine.execution_options(**alone)
        self._write_engine = self._engine.execution_options(writing=True)
        self._dedicated_connections: set[AsyncConnection] = set()  # one or two
        self._abandoned: set[asyncio.Task[Any]] = set()  # at most one for each connection of the pool

    async def migrate(self, revision: str = "head") -> None:
        """Bring the tables to a revision; processes that start together take turns, however long that takes."""
        # Alembic takes a fifth of a second to import, which a worker need not pay: its parent has migrated.
        from vocelio.gateway.store.db import migrate

        steps = partial(migrate.migrate, revision=revision)
        engine = (
            _create_sqlite_engine(self._url, NO_POOL_OPTIONS)
            if self.is_sqlite
            else _create_postgresql_engine(self._url, NO_POOL_OPTIONS, statement_timeout_seconds=None)
        )
        try:
            with self.map_errors():
                await (self._migrate_sqlite if self.is_sqlite else self._migrate_postgresql)(engine, steps)
        finally:
            await engine.dispose()

    async def _migrate_sqlite(self, engine: AsyncEngine, run_migrations: Callable[[Connection], None]) -> None:
        """To alter a table is to copy it and drop the old one: what refers to it must not be deleted with that."""
        async with engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # of no effect within a transaction
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            await connection.run_sync(run_migrations)
            broken = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).all()
            if broken:
                raise SettingsError(f"the migration would break {len(broken)} references: nothing was changed")
            await connection.exec_driver_sql("COMMIT")

    async def _migrate_postgresql(self, engine: AsyncEngine, run_migrations: Callable[[Connection], None]) -> None:
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK_ID})"))
            await connection.run_sync(run_migrations)

    async def get_revision(self) -> str:
        """The revision of the tables, empty when there are none. A file that is not there is not made."""
        from vocelio.gateway.store.db import migrate  # here: see migrate

        if self._is_file_missing():
            return ""
        async with self.read() as connection:
            return await connection.run_sync(migrate.revision)

    def _is_file_missing(self) -> bool:
        return self.is_sqlite and not Path(self._url.database or "").exists()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with, outside of any transaction. Raises StoreUnavailable."""
        with self.map_errors():
            async with self._read_engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed when the block ends without an error. Raises StoreUnavailable."""
        with self.map_errors():
            async with self._write_engine.begin() as connection:
                yield connection

    def autocommit(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """For one statement that changes something and is a transaction of its own. Raises StoreUnavailable.

        On PostgreSQL that saves the two messages around it.
        """
        return self.transaction() if self.is_sqlite else self.read()

    async def open_dedicated(self) -> AsyncConnection:
        """A connection to read with that stays open until it is discarded. Raises as the driver does.

        It is a new one, never the pool's: after a failover those may all be dead without knowing.
        """
        connection = await self._dedicated_engine.connect()
        self._dedicated_connections.add(connection)
        return connection

    def discard(self, connection: AsyncConnection) -> None:
        """Throw a connection away that is broken, or at work still. Never waits."""
        self._dedicated_connections.discard(connection)
        task = asyncio.ensure_future(_close_invalidated(connection))
        self._abandoned.add(task)
        task.add_done_callback(self._on_abandoned_done)

    @contextmanager
    def map_errors(self) -> Iterator[None]:
        """What the database's absence causes is StoreUnavailable; what the statement itself causes is not."""
        try:
            yield
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if isinstance(error, SQLAlchemyError) and is_statement_error(error):
                raise
            LOG.warning("the database: %s", str(error).partition("\n")[0])
            raise DatabaseUnavailable from error

    async def with_timeout(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        """What ``work`` gives, if it does so in time. Raises StoreUnavailable.

        Work that is given up is cancelled, but not waited for.
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
        """An INSERT of the database's own dialect, for ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def aclose(self) -> None:
        """Close every connection; what hangs is left behind after a while."""
        for connection in list(self._dedicated_connections):
            self.discard(connection)
        closing: list[Awaitable[Any]] = [*self._abandoned, self._engine.dispose()]
        _, late = await asyncio.wait(map(asyncio.ensure_future, closing), timeout=CLOSE_TIMEOUT_SECONDS)
        for task in late:
            LOG.warning("a connection to the database did not close in time")
            task.cancel()


def is_data_error(error: SQLAlchemyError) -> bool:
    """Whether it is the rows themselves that the database refuses: what they hold (SQLSTATE 22) or refer to (23)."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", ""))
    return isinstance(error, IntegrityError | DataError) or state[:2] in ("22", "23")


async def _close_invalidated(connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()


def is_statement_error(error: SQLAlchemyError) -> bool:
    """Whether the database was there and refused what was asked: the same again would be refused again.

    By SQLSTATE, where there is one: data that cannot be (22), constraints (23), statements that are wrong (42).
    """
    state = str(getattr(getattr(error, "orig", None), "sqlstate", ""))
    return isinstance(error, IntegrityError | DataError | ProgrammingError) or state[:2] in ("22", "23", "42")


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError("VOCELIO_DATABASE_URL is no database's URL") from None  # it may hold a password
    if parsed.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise SettingsError(
            "VOCELIO_DATABASE_URL is sqlite+aiosqlite:///FILE or postgresql+asyncpg://..., "
            f"not one of {parsed.drivername}"
        )
    return parsed


def _create_sqlite_engine(url: URL, pool_options: Mapping[str, Any] = POOL_OPTIONS) -> AsyncEngine:
    """Write-ahead log, so that readers never wait; one writer at a time, which waits for its turn at its BEGIN.

    A transaction that reads first and writes then could not be let in at all when another has written meanwhile.
    """
    if not url.database or url.database == ":memory:":
        raise SettingsError("VOCELIO_DATABASE_URL needs a file: sqlite+aiosqlite:///vocelio.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, connect_args={"timeout": 2}, hide_parameters=True, **pool_options)

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver begins nothing of its own
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("writing"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _create_postgresql_engine(
    url: URL,
    pool_options: Mapping[str, Any] = POOL_OPTIONS,
    statement_timeout_seconds: float | None = STATEMENT_TIMEOUT_SECONDS,
) -> AsyncEngine:
    """A pool that tries a connection before it lends it: after a restart of the server all are stale."""
    return create_async_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,  # a call's are confidential, and errors are logged
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": statement_timeout_seconds,
            "server_settings": {"idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT_MS},
        },
        **pool_options,
    )


Ts = TypeVarTuple("Ts")


class DedicatedQuery(Generic[*Ts]):
    """The first row of a query, or none, again and again with other parameters."""

    def __init__(self, database: Database, query: "Select[*Ts]") -> None:
        self._database, self._query = database, query
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def first(self, **parameters: Any) -> "Row[*Ts] | None":
        """The row. Raises StoreUnavailable."""
        async with self._lock:
            tried_before = self._connection is not None
            try:
                return await self._fetch_first(parameters)
            except DatabaseUnavailable:
                if not tried_before:
                    raise
                return await self._fetch_first(parameters)  # the server was restarted since

    async def _fetch_first(self, parameters: dict[str, Any]) -> "Row[*Ts] | None":
        with self._database.map_errors():
            connection = self._connection or await self._database.open_dedicated()
            self._connection = None  # until all has gone well: a query that is broken off leaves none behind
            try:
                row = (await connection.execute(self._query, parameters)).first()
            except BaseException:
                self._database.discard(connection)
                raise
            self._connection = connection
            return row
