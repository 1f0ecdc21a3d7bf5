"""Lease queue: a table whose rows are tasks, each leased to one worker at a time.

A row is due once ``due_at`` has passed. A worker leases it with one conditional update that stores the worker's id and
the end of the lease; until then no other worker gets the row. Every later write names the lease and changes nothing
once another worker has the row, so no task is completed twice. Tasks of a killed worker become available when their
leases end; none is forgotten.
"""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Table, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.store.db.database import Database

EXTRA_CANDIDATES = 4  # rows read beyond the limit, since other workers lease the same ones at the same time
MICROSECONDS_PER_SECOND = 1_000_000
_UNLEASED: dict[str, None] = {"lease_owner": None, "lease_until": None}


class Lease(NamedTuple):
    """A tenant's row, leased by the worker ``owner``."""

    tenant: str
    key: str
    owner: str


class LeaseQueue:
    """A table with columns ``due_at``, ``lease_owner``, ``lease_until``, ``failed_attempts`` and ``error``.

    Its primary key is ``tenant_id`` and ``key_column``. Instants are microseconds UTC.
    """

    def __init__(self, table: Table, key_column: str) -> None:
        self._table, self._key = table, table.c[key_column]

    def is_available(self, now: int) -> ColumnElement[bool]:
        """Return the condition for rows that are due and not leased."""
        columns = self._table.c
        return and_(columns.due_at <= now, or_(columns.lease_until.is_(None), columns.lease_until <= now))

    async def lease_due(
        self,
        database: Database,
        owner: str,
        now: int,
        lease_until: int,
        limit: int,
        *conditions: ColumnElement[bool],
        **values: Any,
    ) -> list[Row[Any]]:
        """Lease up to ``limit`` rows that are due and meet the conditions, the longest due first.

        ``values`` are written with the lease.
        """
        available = (self.is_available(now), *conditions)
        query = select(self._table.c.tenant_id, self._key).where(*available).order_by(self._table.c.due_at)
        async with database.read() as connection:
            candidates = (await connection.execute(query.limit(limit + EXTRA_CANDIDATES))).all()
        leased: list[Row[Any]] = []
        for tenant, key in candidates:
            if len(leased) == limit:
                break
            statement = update(self._table).where(*self._row_filter(tenant, key), *available)
            statement = statement.values(lease_owner=owner, lease_until=lease_until, **values)
            async with database.transaction() as connection:
                row = (await connection.execute(statement.returning(self._table))).first()
            if row is not None:
                leased.append(row)
        return leased

    async def extend(
        self, database: Database, lease: Lease, lease_until: int, *conditions: ColumnElement[bool], **values: Any
    ) -> bool:
        """Extend a lease and write intermediate values. Return False if it was lost or the conditions do not hold."""
        async with database.transaction() as connection:
            return await self._update(connection, lease, *conditions, lease_until=lease_until, **values)

    async def finish(self, database: Database, lease: Lease, *conditions: ColumnElement[bool], **values: Any) -> bool:
        """Write a task's result and end the lease.

        Return False if the lease was lost, or if the conditions do not hold: then the lease only ends.
        """
        async with database.transaction() as connection:
            if await self._update(connection, lease, *conditions, **values, **_UNLEASED):
                return True
            if conditions:
                await self._update(connection, lease, **_UNLEASED)
            return False

    async def fail(
        self,
        database: Database,
        lease: Lease,
        *conditions: ColumnElement[bool],
        error: str,
        failed_attempts: int,
        now: int,
        backoff: Backoff,
        min_delay_seconds: float = 0.0,
        **values: Any,
    ) -> bool:
        """Record a failure, schedule the next attempt and end the lease. Return False as ``finish`` does.

        ``failed_attempts`` includes this one.
        """
        delay = max(min_delay_seconds, backoff.delay_seconds(failed_attempts))
        due_at = now + round(delay * MICROSECONDS_PER_SECOND)
        failure = {"error": error, "failed_attempts": failed_attempts, "due_at": due_at}
        return await self.finish(database, lease, *conditions, **failure, **values)

    async def release(self, database: Database, lease: Lease, **values: Any) -> None:
        """End a lease without a result; unless ``due_at`` is given the row is available at once."""
        async with database.autocommit() as connection:
            await self._update(connection, lease, **values, **_UNLEASED)

    async def release_all(self, database: Database, owner: str, **values: Any) -> None:
        """End all leases of a worker, and write ``values`` to their rows."""
        async with database.autocommit() as connection:
            statement = update(self._table).where(self._table.c.lease_owner == owner)
            await connection.execute(statement.values(**values, **_UNLEASED))

    async def delete(self, database: Database, lease: Lease, *conditions: ColumnElement[bool]) -> bool:
        """Delete a row that is done with. Return False as ``finish`` does."""
        async with database.transaction() as connection:
            statement = delete(self._table).where(*self._lease_filter(lease), *conditions)
            if (await connection.execute(statement)).rowcount:
                return True
            await self._update(connection, lease, **_UNLEASED)
            return False

    async def _update(
        self, connection: AsyncConnection, lease: Lease, *conditions: ColumnElement[bool], **values: Any
    ) -> bool:
        statement = update(self._table).where(*self._lease_filter(lease), *conditions).values(values)
        return bool((await connection.execute(statement)).rowcount)

    def _row_filter(self, tenant: str, key: str) -> tuple[ColumnElement[bool], ...]:
        return self._table.c.tenant_id == tenant, self._key == key

    def _lease_filter(self, lease: Lease) -> tuple[ColumnElement[bool], ...]:
        return *self._row_filter(lease.tenant, lease.key), self._table.c.lease_owner == lease.owner
