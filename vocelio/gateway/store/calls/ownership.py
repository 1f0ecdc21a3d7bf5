"""Call ownership in the database: the queries with which any process continues a call of any other.

Each is one statement. A stream becomes a call's owner by raising its generation on the condition that it is unchanged:
of two attempts, one succeeds. Resume states are encrypted, since they contain what callers said.
"""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, case, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.voice import Tier
from vocelio.gateway.crypto import DecryptionError, SecretCipher
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.calls.interface import ProviderUsageTotals, Segment, StatusReport, StoredCall
from vocelio.gateway.store.db.schema import call_events, calls, usage

LOG = logging.getLogger(__name__)

MAX_EXPIRED_PAGES = 20  # of one sweep: thousands of calls that cannot be read yet, in a part of the query's time limit

_LAST_EVENT_SEQ = (
    select(func.coalesce(func.max(call_events.c.seq), 0))
    .where(
        call_events.c.tenant_id == calls.c.tenant_id,
        call_events.c.call_id == calls.c.id,
        call_events.c.generation == calls.c.generation,
    )
    .correlate(calls)
    .scalar_subquery()
    .label("last_event_seq")
)
_RESUMABLE = or_(calls.c.ended_at.is_(None), calls.c.outcome == "lost")


class CallOwnershipQueries:
    """The queries; ``cipher`` encrypts the resume states. See CallStore for what each does."""

    def __init__(self, cipher: SecretCipher) -> None:
        self._cipher = cipher

    async def find(self, connection: AsyncConnection, call: str, account_sid: str) -> StoredCall | None:
        query = _select_calls().where(calls.c.id == call, calls.c.account_sid == account_sid)
        row = (await connection.execute(query)).first()
        return self._from_row(row) if row else None

    async def take_over(
        self, connection: AsyncConnection, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        key = and_(calls.c.tenant_id == tenant, calls.c.id == call, calls.c.account_sid == account_sid)
        owned = {"generation": generation + 1, "due_at": due_at, "status_report": None, "ended_at": None, "outcome": ""}
        statement = update(calls).where(key, calls.c.generation == generation, _RESUMABLE).values(owned)
        row = (await connection.execute(statement.returning(calls))).first()
        return self._from_row(row) if row else None

    async def claim(self, connection: AsyncConnection, stored: StoredCall) -> bool:
        statement = update(calls).where(_is_unchanged(stored), _RESUMABLE).values(revision=stored.revision + 1)
        return (await connection.execute(statement.returning(calls.c.id))).first() is not None

    async def close(
        self, connection: AsyncConnection, stored: StoredCall, ended_at: int, outcome: str
    ) -> StoredCall | None:
        over: dict[str, Any] = {
            "revision": stored.revision + 1,
            "ended_at": ended_at,
            "outcome": outcome,
            "due_at": None,
        }
        if outcome != "lost":  # Twilio may return for a lost call, to a process that can read its state
            over["resume_state"] = None
        statement = update(calls).where(_is_unchanged(stored), _RESUMABLE).values(over)
        if (await connection.execute(statement.returning(calls.c.id))).first() is None:
            return None
        columns = select(
            usage.c.tier, usage.c.billed_microseconds, usage.c.micro_usd_per_minute, usage.c.cost_micro_usd
        )
        query = columns.where(usage.c.tenant_id == stored.tenant, usage.c.call_id == stored.id).order_by(
            usage.c.segment
        )
        segments = tuple(Segment(*row) for row in (await connection.execute(query)).all())
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
        """The first report stands, unless Twilio was redirected to the fallback."""
        where = [calls.c.id == call, calls.c.account_sid == account_sid, calls.c.ended_at.is_(None)]
        if generation is not None:
            where.append(calls.c.generation == generation)
        earlier_due = case((calls.c.due_at < due_at, calls.c.due_at), else_=due_at)
        report = (
            status
            if status == "redirected"
            else case((calls.c.status_report.is_(None), status), else_=calls.c.status_report)
        )
        await connection.execute(update(calls).where(*where).values(due_at=earlier_due, status_report=report))

    async def find_expired(
        self, connection: AsyncConnection, now: int, limit: int, unreadable_before: int
    ) -> Sequence[StoredCall]:
        """Read page after page, since calls that cannot be read yet must not hide those behind them."""
        key = tuple_(calls.c.due_at, calls.c.tenant_id, calls.c.id)
        query = _select_calls().where(calls.c.ended_at.is_(None), calls.c.due_at < now).order_by(*key).limit(limit)
        found: list[StoredCall] = []
        rows = (await connection.execute(query)).all()
        for _ in range(MAX_EXPIRED_PAGES):
            decoded = (self._from_row(row, allow_unreadable=True) for row in rows)
            found += (call for call in decoded if call.is_readable or call.due_at < unreadable_before)
            if len(found) >= limit or len(rows) < limit:
                break
            last = rows[-1]
            rows = (await connection.execute(query.where(key > (last.due_at, last.tenant_id, last.id)))).all()
        return found[:limit]

    async def purge_state(self, connection: AsyncConnection, before: int) -> None:
        where = (calls.c.resume_state.is_not(None), calls.c.ended_at < before)
        await connection.execute(update(calls).where(*where).values(resume_state=None))

    async def count_live(self, connection: AsyncConnection, tenant: str, due_after: int) -> int:
        is_live = and_(calls.c.tenant_id == tenant, calls.c.ended_at.is_(None), calls.c.due_at > due_after)
        return await connection.scalar(select(func.count()).select_from(calls).where(is_live)) or 0

    def encrypt_state(self, call: StoredCall) -> str | None:
        """Encrypt the call's resume state for its column."""
        if call.resume_state is None:
            return None
        return self._cipher.encrypt(call.resume_state.decode(), _encryption_purpose(call.tenant, call.id))

    def _from_row(self, row: Row[Any], *, allow_unreadable: bool = False) -> StoredCall:
        """Raises DatabaseUnavailable, unless calls whose resume state cannot be decrypted are allowed.

        During a key rotation another process may have the key that this one lacks.
        """
        is_readable, resume_state = True, None
        try:
            resume_state = self._decrypt_state(row)
        except DecryptionError as error:
            is_readable = False
            if not allow_unreadable:
                LOG.error("call %s: could not decrypt its resume state: %s", row.id, error)
                raise DatabaseUnavailable from error
        return StoredCall(
            tenant=row.tenant_id,
            id=row.id,
            account_sid=row.account_sid,
            number=row.number,
            caller=row.caller,
            flow=row.flow_id,
            version=row.version or 0,
            revision=row.revision,
            generation=row.generation,
            started_at=row.started_at,
            ended_at=row.ended_at or 0,
            outcome=row.outcome,
            disposition=row.disposition,
            department=row.department,
            provider_usage=msgspec.json.decode(row.provider_usage or "{}", type=dict[Tier, ProviderUsageTotals]),
            resume_state=resume_state,
            is_readable=is_readable,
            due_at=row.due_at or 0,
            status_report=row.status_report or "",
            last_event_seq=getattr(row, "last_event_seq", 0),
        )

    def _decrypt_state(self, row: Row[Any]) -> bytes | None:
        if row.resume_state is None:
            return None
        return self._cipher.decrypt(row.resume_state, _encryption_purpose(row.tenant_id, row.id)).encode()


def _is_unchanged(stored: StoredCall) -> Any:
    return and_(
        calls.c.tenant_id == stored.tenant,
        calls.c.id == stored.id,
        calls.c.generation == stored.generation,
        calls.c.revision == stored.revision,
    )


def _select_calls() -> Select[Any]:
    return select(calls, _LAST_EVENT_SEQ)


def _encryption_purpose(tenant: str, call: str) -> str:
    return f"{tenant}/call/{call}"
