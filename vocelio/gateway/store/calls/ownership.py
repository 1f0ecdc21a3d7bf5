"""The calls that are under way, as the database has them: what lets any process go on with a call of any other.

Each of these is one statement. Whoever wants to own a call raises its generation, on the condition that it is still
what it was: of two that try, one does. States are encrypted: they hold what callers said.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.crypto.encryption import DecryptionError, SecretCipher
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.calls.interface import Segment, StatusReport, StoredCall
from vocelio.gateway.store.db.schema import call_events, calls, usage

LOG = logging.getLogger(__name__)

_LAST_EVENT_SEQ = (
    select(func.coalesce(func.max(call_events.c.seq), 0))
    .where(
        call_events.c.tenant_id == calls.c.tenant_id,
        call_events.c.call_id == calls.c.id,
        call_events.c.generation == calls.c.generation,
    )
    .correlate(calls)
    .scalar_subquery()
    .label("sequence")
)
_RESUMABLE = or_(calls.c.ended.is_(None), calls.c.outcome == "lost")


class CallOwnershipQueries:
    """The statements. ``vault`` opens the states."""

    def __init__(self, cipher: SecretCipher) -> None:
        self._cipher = cipher

    async def find(self, connection: AsyncConnection, call: str, account_sid: str) -> StoredCall | None:
        """See Journal."""
        query = _select_calls().where(calls.c.id == call, calls.c.account == account_sid)
        row = (await connection.execute(query)).first()
        return self._from_row(row) if row else None

    async def take_over(
        self, connection: AsyncConnection, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        """See Journal."""
        mine = and_(calls.c.tenant_id == tenant, calls.c.id == call, calls.c.account == account_sid)
        raised = {"generation": generation + 1, "due": due_at, "told": None, "ended": None, "outcome": ""}
        statement = update(calls).where(mine, calls.c.generation == generation, _RESUMABLE).values(raised)
        row = (await connection.execute(statement.returning(calls))).first()
        return self._from_row(row) if row else None

    async def claim(self, connection: AsyncConnection, stored: StoredCall) -> bool:
        """See Journal."""
        mine = and_(calls.c.tenant_id == stored.tenant, calls.c.id == stored.id)
        unchanged = and_(calls.c.generation == stored.generation, calls.c.revision == stored.revision)
        statement = update(calls).where(mine, unchanged, _RESUMABLE).values(revision=stored.revision + 1)
        return (await connection.execute(statement.returning(calls.c.id))).first() is not None

    async def close(
        self, connection: AsyncConnection, stored: StoredCall, ended_at: int, outcome: str
    ) -> StoredCall | None:
        """See Journal."""
        mine = and_(calls.c.tenant_id == stored.tenant, calls.c.id == stored.id)
        unchanged = and_(calls.c.generation == stored.generation, calls.c.revision == stored.revision)
        over = {"revision": stored.revision + 1, "ended": ended_at, "outcome": outcome, "due": None, "state": None}
        statement = update(calls).where(mine, unchanged, _RESUMABLE).values(over)
        if (await connection.execute(statement.returning(calls.c.id))).first() is None:
            return None
        bill = select(usage.c.tier, usage.c.billed, usage.c.rate, usage.c.micro_usd)
        of_it = bill.where(usage.c.tenant_id == stored.tenant, usage.c.call_id == stored.id).order_by(usage.c.segment)
        segments = tuple(Segment(*row) for row in (await connection.execute(of_it)).all())
        return msgspec.structs.replace(stored, ended_at=ended_at, outcome=outcome, segments=segments)

    async def record_status(
        self,
        connection: AsyncConnection,
        account_sid: str,
        call: str,
        status: StatusReport,
        due_at: int,
        generation: int | None,
    ) -> None:
        """See Journal. That a stream broke off is known better by whoever told it first."""
        mine = [calls.c.id == call, calls.c.account == account_sid, calls.c.ended.is_(None)]
        if generation is not None:
            mine.append(calls.c.generation == generation)
        sooner = case((calls.c.due < due_at, calls.c.due), else_=due_at)
        first = status if status == "redirected" else case((calls.c.told.is_(None), status), else_=calls.c.told)
        await connection.execute(update(calls).where(*mine).values(due=sooner, told=first))

    async def find_expired(self, connection: AsyncConnection, now: int, limit: int) -> Sequence[StoredCall]:
        """See Journal."""
        query = _select_calls().where(calls.c.ended.is_(None), calls.c.due < now).order_by(calls.c.due).limit(limit)
        return list(self._decode_readable((await connection.execute(query)).all()))

    async def purge_state(self, connection: AsyncConnection, before: int) -> None:
        """See Journal."""
        lost = (calls.c.state.is_not(None), calls.c.ended < before)
        await connection.execute(update(calls).where(*lost).values(state=None))

    async def count_live(self, connection: AsyncConnection, tenant: str) -> int:
        """See Journal."""
        query = select(func.count()).select_from(calls).where(calls.c.tenant_id == tenant, calls.c.ended.is_(None))
        return await connection.scalar(query) or 0

    def encrypted_state(self, call: StoredCall) -> str | None:
        """The state as it is kept."""
        if call.resume_state is None:
            return None
        return self._cipher.encrypt(
            msgspec.json.encode(call.resume_state).decode(), _encryption_purpose(call.tenant, call.id)
        )

    def _decode_readable(self, rows: Iterable[Row[Any]]) -> Iterator[StoredCall]:
        for row in rows:
            with suppress(DatabaseUnavailable):
                yield self._from_row(row)

    def _from_row(self, row: Row[Any]) -> StoredCall:
        return StoredCall(
            tenant=row.tenant_id,
            id=row.id,
            account_sid=row.account,
            number=row.number,
            caller=row.caller,
            flow=row.flow_id,
            version=row.version or 0,
            revision=row.revision,
            generation=row.generation,
            started_at=row.started,
            ended_at=row.ended or 0,
            outcome=row.outcome,
            disposition=row.disposition,
            department=row.department,
            resume_state=self._decrypt_state(row),
            due_at=row.due or 0,
            status_report=row.told or "",
            last_event_seq=getattr(row, "sequence", 0),
        )

    def _decrypt_state(self, row: Row[Any]) -> dict[str, Any] | None:
        """Raises StoreUnavailable: a key of VOCELIO_SECRET_KEY may be on its way to us, and others may have it."""
        if row.state is None:
            return None
        try:
            state: dict[str, Any] = msgspec.json.decode(
                self._cipher.decrypt(row.state, _encryption_purpose(row.tenant_id, row.id))
            )
        except DecryptionError as error:
            LOG.error("call %s: its state cannot be read: %s", row.id, error)
            raise DatabaseUnavailable from error
        return state


def _select_calls() -> Select[Any]:
    return select(calls, _LAST_EVENT_SEQ)


def _encryption_purpose(tenant: str, call: str) -> str:
    return f"{tenant}/call/{call}"
