"""A query that every call waits for, on a connection of its own that stays open.

To borrow a connection from the pool, try whether it is still good, and give it back takes longer than the query itself.
So one is kept; one query runs at a time. When it breaks it is thrown away, and the query is tried once on a new one.
"""

import asyncio
from typing import Any, Generic, TypeVarTuple

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.db.database import Database

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
