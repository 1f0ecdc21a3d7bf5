"""Heartbeats of the gateway's processes, for operators and dashboards.

The owner of a call is in the call's own row; heartbeats only tell a process that shuts down whether another one serves.
"""

import msgspec
from sqlalchemy import RowMapping, delete, select

from vocelio.gateway.clock import Instant
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import processes

STALE_AFTER_MICROSECONDS = 30_000_000  # without a heartbeat for so long, a process counts as gone


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process, as of its last heartbeat ``last_seen_at`` (microseconds UTC), with at most ``capacity`` calls.

    ``calls_per_second`` are the calls started since the heartbeat before. ``event_loop_lag_ms`` is the 99th percentile
    of the last 5 s. A process that is ``draining`` is shutting down.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: Instant
    last_seen_at: Instant
    capacity: int
    live_calls: int
    calls_per_second: float
    event_loop_lag_ms: float
    draining: bool


async def upsert_process(database: Database, process: Process) -> None:
    """Store a heartbeat, and delete the rows of processes that are gone. Raises DatabaseUnavailable."""
    row = msgspec.structs.asdict(process)
    statement = database.upsert(processes).values(row)
    async with database.transaction() as connection:
        await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))
        await connection.execute(
            delete(processes).where(processes.c.last_seen_at < process.last_seen_at - STALE_AFTER_MICROSECONDS)
        )


async def delete_process(database: Database, process_id: str) -> None:
    """Delete the row of a process that has ended. Raises DatabaseUnavailable."""
    async with database.autocommit() as connection:
        await connection.execute(delete(processes).where(processes.c.id == process_id))


async def list_processes(database: Database, now: int) -> list[Process]:
    """List the processes with a recent heartbeat, oldest first. Raises DatabaseUnavailable."""
    query = (
        select(processes)
        .where(processes.c.last_seen_at >= now - STALE_AFTER_MICROSECONDS)
        .order_by(processes.c.started_at, processes.c.id)
    )
    async with database.read() as connection:
        return [_from_row(row) for row in (await connection.execute(query)).mappings()]


def _from_row(row: RowMapping) -> Process:
    instants = {name: Instant(row[name]) for name in ("started_at", "last_seen_at")}
    return Process(**{**row, **instants})
