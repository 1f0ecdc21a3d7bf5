"""The processes that there are, as each tells of itself every few seconds: for people and dashboards.

Nothing is decided by it: whose a call is, the call's own row says.
"""

import msgspec
from sqlalchemy import delete, select

from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import processes

STALE_AFTER_MICROSECONDS = 30_000_000  # microseconds: one that has said nothing for so long is gone


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process: ``started`` and last ``seen`` then (microseconds UTC), with so many calls of at most ``capacity``.

    ``calls_per_second`` are those that it began since it was seen before. ``lag_ms`` is how late its event loop was at
    most in 99 of 100 measurements of the last 5 s. One that is ``draining`` leaves.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: int
    last_seen_at: int
    capacity: int
    live_calls: int
    calls_per_second: float
    event_loop_lag_ms: float
    draining: bool


async def upsert_process(database: Database, process: Process) -> None:
    """Put down how it stands, and forget those that are gone. Raises StoreUnavailable."""
    row = msgspec.structs.asdict(process)
    statement = database.upsert(processes).values(row)
    async with database.transaction() as connection:
        await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))
        await connection.execute(
            delete(processes).where(processes.c.last_seen_at < process.last_seen_at - STALE_AFTER_MICROSECONDS)
        )


async def delete_process(database: Database, process_id: str) -> None:
    """It has ended. Raises StoreUnavailable."""
    async with database.autocommit() as connection:
        await connection.execute(delete(processes).where(processes.c.id == process_id))


async def list_processes(database: Database, now: int) -> list[Process]:
    """Those that were seen of late, the oldest first. Raises StoreUnavailable."""
    query = (
        select(processes)
        .where(processes.c.last_seen_at >= now - STALE_AFTER_MICROSECONDS)
        .order_by(processes.c.started_at, processes.c.id)
    )
    async with database.read() as connection:
        return [Process(**row) for row in (await connection.execute(query)).mappings()]
