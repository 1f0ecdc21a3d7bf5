"""One commit of the write-behind call store: the rows of a batch, and the SQL that writes them.

Every statement can be repeated: rows have natural keys, and a call's row is replaced by a later state only. So a batch
whose commit was not confirmed is written again without harm.
"""

import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.events import Event
from vocelio.gateway.store.audit import dump_json
from vocelio.gateway.store.calls.interface import StoredCall
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, usage

RowValues = dict[str, Any]
CallKey = tuple[str, str]
"""Tenant and call."""

_CALL_KEY_COLUMNS = ("tenant_id", "id")
_EXTERNALLY_WRITTEN = {"status_report"}  # by CallOwnershipQueries.record_status
_USAGE_KEY_COLUMNS = ("tenant_id", "call_id", "segment")


class PendingWrite(NamedTuple):
    """The rows of one saved call. They are made at the save, so that a call that cannot be stored fails alone.

    ``callbacks`` are pairs of on_committed and on_superseded.
    """

    call_row: RowValues
    usage_rows: list[RowValues]
    log: bytes
    callbacks: list[tuple[Callable[[], None], Callable[[], None]]]

    @property
    def key(self) -> CallKey:
        return self.call_row["tenant_id"], self.call_row["id"]

    def merged_after(self, earlier: "PendingWrite") -> "PendingWrite":
        """Replace an earlier save that was not written: with the log and the callbacks of both."""
        return self._replace(log=earlier.log + self.log, callbacks=[*earlier.callbacks, *self.callbacks])


def call_row(call: StoredCall, encrypted_state: str | None) -> RowValues:
    """Build the row of the calls table."""
    return {
        "tenant_id": call.tenant,
        "id": call.id,
        "account_sid": call.account_sid,
        "number": call.number,
        "caller": call.caller,
        "flow_id": call.flow,
        "version": call.version or None,
        "revision": call.revision,
        "generation": call.generation,
        "due_at": None if call.ended_at else call.due_at,
        "started_at": call.started_at,
        "ended_at": call.ended_at or None,
        "outcome": call.outcome,
        "disposition": _truncate_text(call.disposition, 200),
        "department": _truncate_text(call.department, 64),
        "billed_microseconds": call.billed_microseconds,
        "cost_micro_usd": call.cost_micro_usd,
        "provider_usage": dump_json(call.provider_usage) if call.provider_usage else None,
        "resume_state": encrypted_state,
    }


def usage_rows(call: StoredCall) -> list[RowValues]:
    """Build the rows of the usage table: one for each billed segment."""
    return [
        {
            "tenant_id": call.tenant,
            "call_id": call.id,
            "segment": index,
            "number": call.number,
            "flow_id": call.flow,
            "tier": segment.tier,
            "started_at": call.started_at,
            "billed_microseconds": segment.billed_microseconds,
            "micro_usd_per_minute": segment.micro_usd_per_minute,
            "cost_micro_usd": segment.cost_micro_usd,
        }
        for index, segment in enumerate(call.segments)
    ]


def log_row(pending: PendingWrite) -> RowValues:
    """Build the row of a call log's part. Compressing a long one takes some milliseconds."""
    return {
        "tenant_id": pending.call_row["tenant_id"],
        "call_id": pending.call_row["id"],
        "generation": pending.call_row["generation"],
        "revision": pending.call_row["revision"],
        "log": zlib.compress(pending.log, 1),
    }


def event_row(event: Event, flow: str) -> RowValues:
    """Build the row of the timeline."""
    return {
        "tenant_id": event.tenant,
        "call_id": event.call,
        "generation": event.generation,
        "seq": event.sequence,
        "type": event.type,
        "occurred_at": event.occurred_at,
        "flow_id": flow,
        "data": dump_json(event.data),
        "node": _truncate_text(event.data.get("node"), 64),
        "exit": _truncate_text(event.data.get("exit"), 64),
        "latency_ms": event.data.get("latency_ms"),
    }


async def commit_batch(
    database: Database, pending: list[PendingWrite], logs: dict[CallKey, RowValues], events: list[RowValues]
) -> set[CallKey]:
    """Write all in one transaction and return the keys of the calls that were written, not superseded.

    Calls are written in the order of their keys, so that two processes cannot deadlock.
    """
    async with database.transaction() as connection:
        rows = [write.call_row for write in sorted(pending, key=lambda write: write.key)]
        written = await _upsert_calls(database, connection, rows)
        billed = [row for write in pending if write.key in written for row in write.usage_rows]
        await _upsert_usage(database, connection, billed)
        await _insert_new(database, connection, call_logs, (row for key, row in logs.items() if key in written))
        await _insert_new(database, connection, call_events, events)
    return written


async def _upsert_calls(database: Database, connection: AsyncConnection, rows: list[RowValues]) -> set[CallKey]:
    """Insert the calls, or replace their rows unless these are of a later generation or revision.

    An equal revision is written again: its commit may have succeeded although it was not confirmed.
    """
    if not rows:
        return set()
    statement = database.upsert(calls)
    new = {
        column.name: statement.excluded[column.name]
        for column in calls.c
        if column.name not in {*_CALL_KEY_COLUMNS, *_EXTERNALLY_WRITTEN}
    }
    saved, current = statement.excluded, calls.c
    not_older = or_(
        saved.generation > current.generation,
        and_(saved.generation == current.generation, saved.revision >= current.revision),
    )
    statement = statement.on_conflict_do_update(index_elements=_CALL_KEY_COLUMNS, set_=new, where=not_older)
    written = await connection.execute(statement.returning(calls.c.tenant_id, calls.c.id), rows)
    return {(row.tenant_id, row.id) for row in written}


async def _upsert_usage(database: Database, connection: AsyncConnection, rows: list[RowValues]) -> None:
    if rows:
        statement = database.upsert(usage)
        new = {
            column.name: statement.excluded[column.name] for column in usage.c if column.name not in _USAGE_KEY_COLUMNS
        }
        await connection.execute(statement.on_conflict_do_update(index_elements=_USAGE_KEY_COLUMNS, set_=new), rows)


async def _insert_new(database: Database, connection: AsyncConnection, table: Table, rows: Iterable[RowValues]) -> None:
    if added := list(rows):
        await connection.execute(database.upsert(table).on_conflict_do_nothing(), added)


def _truncate_text(value: str | None, max_length: int) -> str | None:
    """Cut a text that a flow produced to what both databases accept: a word must not keep a call from ending."""
    return None if value is None else value.replace("\0", "")[:max_length]
