"""PostgreSQL: the engine, and connections that are closed only when the server has cancelled a given-up statement."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from vocelio.gateway.store.db.termination import close_in_background

CONNECT_TIMEOUT_SECONDS = 3.0
STATEMENT_TIMEOUT_SECONDS = 5.0
CLOSE_TIMEOUT_SECONDS = 2.0  # for the server to confirm the cancellation of a statement; then the socket is aborted
IDLE_TRANSACTION_TIMEOUT_MS = "10000"  # then the process is gone, and its locks must be released
SERVER_STATEMENT_TIMEOUT_MS = "10000"  # the process has long given up, and its cancellation did not reach the server


class Dialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect, but that a terminated connection is closed to the end.

    asyncpg's ``close`` waits for the cancellation of the running statement, and aborts the socket if that fails.
    """

    supports_statement_cache = True

    def do_terminate(self, dbapi_connection: Any) -> None:
        if not close_in_background(dbapi_connection, _close):
            super().do_terminate(dbapi_connection)


async def _close(driver: Any) -> None:
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):  # its socket is aborted then
        await driver.close(timeout=CLOSE_TIMEOUT_SECONDS)


registry.register("postgresql.vocelio", __name__, Dialect.__name__)


def create_postgresql_engine(
    url: URL,
    pool_options: Mapping[str, Any],
    statement_timeout_seconds: float | None = STATEMENT_TIMEOUT_SECONDS,
) -> AsyncEngine:
    """Create an engine whose pool tests each connection before lending it: after a server restart all are stale."""
    server_settings = {"idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT_MS}
    if statement_timeout_seconds is not None:
        server_settings["statement_timeout"] = SERVER_STATEMENT_TIMEOUT_MS
    return create_async_engine(
        url.set(drivername="postgresql+vocelio"),
        pool_pre_ping=True,
        hide_parameters=True,  # parameters are confidential, and errors are logged
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": statement_timeout_seconds,
            "server_settings": server_settings,
        },
        **pool_options,
    )
