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

from vocelio.gateway.crypto.encryption import Vault, VaultError
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.store.calls.interface import SavedCall, Segment, Told
from vocelio.gateway.store.db.schema import call_events, calls, usage

LOG = logging.getLogger(__name__)

_LAST_EVENT = (
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
_GOES_ON = or_(calls.c.ended.is_(None), calls.c.outcome == "lost")


class Underway:
    """The statements. ``vault`` opens the states."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def find(self, connection: AsyncConnection, call: str, account: str) -> SavedCall | None:
        """See Journal."""
        query = _whole().where(calls.c.id == call, calls.c.account == account)
        row = (await connection.execute(query)).first()
        return self._saved(row) if row else None

    async def take_over(
        self, connection: AsyncConnection, tenant: str, call: str, account: str, generation: int, due: int
    ) -> SavedCall | None:
        """See Journal."""
        mine = and_(calls.c.tenant_id == tenant, calls.c.id == call, calls.c.account == account)
        raised = {"generation": generation + 1, "due": due, "told": None, "ended": None, "outcome": ""}
        statement = update(calls).where(mine, calls.c.generation == generation, _GOES_ON).values(raised)
        row = (await connection.execute(statement.returning(calls))).first()
        return self._saved(row) if row else None

    async def claim(self, connection: AsyncConnection, kept: SavedCall) -> bool:
        """See Journal."""
        mine = and_(calls.c.tenant_id == kept.tenant, calls.c.id == kept.id)
        unchanged = and_(calls.c.generation == kept.generation, calls.c.revision == kept.revision)
        statement = update(calls).where(mine, unchanged, _GOES_ON).values(revision=kept.revision + 1)
        return (await connection.execute(statement.returning(calls.c.id))).first() is not None

    async def finish(self, connection: AsyncConnection, kept: SavedCall, ended: int, outcome: str) -> SavedCall | None:
        """See Journal."""
        mine = and_(calls.c.tenant_id == kept.tenant, calls.c.id == kept.id)
        unchanged = and_(calls.c.generation == kept.generation, calls.c.revision == kept.revision)
        over = {"revision": kept.revision + 1, "ended": ended, "outcome": outcome, "due": None, "state": None}
        statement = update(calls).where(mine, unchanged, _GOES_ON).values(over)
        if (await connection.execute(statement.returning(calls.c.id))).first() is None:
            return None
        bill = select(usage.c.tier, usage.c.billed, usage.c.rate, usage.c.micro_usd)
        of_it = bill.where(usage.c.tenant_id == kept.tenant, usage.c.call_id == kept.id).order_by(usage.c.segment)
        segments = tuple(Segment(*row) for row in (await connection.execute(of_it)).all())
        return msgspec.structs.replace(kept, ended=ended, outcome=outcome, segments=segments)

    async def hear(
        self, connection: AsyncConnection, account: str, call: str, told: Told, due: int, generation: int | None
    ) -> None:
        """See Journal. That a stream broke off is known better by whoever told it first."""
        mine = [calls.c.id == call, calls.c.account == account, calls.c.ended.is_(None)]
        if generation is not None:
            mine.append(calls.c.generation == generation)
        sooner = case((calls.c.due < due, calls.c.due), else_=due)
        first = told if told == "given_up" else case((calls.c.told.is_(None), told), else_=calls.c.told)
        await connection.execute(update(calls).where(*mine).values(due=sooner, told=first))

    async def overdue(self, connection: AsyncConnection, now: int, limit: int) -> Sequence[SavedCall]:
        """See Journal."""
        query = _whole().where(calls.c.ended.is_(None), calls.c.due < now).order_by(calls.c.due).limit(limit)
        return list(self._readable((await connection.execute(query)).all()))

    async def forget(self, connection: AsyncConnection, before: int) -> None:
        """See Journal."""
        lost = (calls.c.state.is_not(None), calls.c.ended < before)
        await connection.execute(update(calls).where(*lost).values(state=None))

    async def count(self, connection: AsyncConnection, tenant: str) -> int:
        """See Journal."""
        query = select(func.count()).select_from(calls).where(calls.c.tenant_id == tenant, calls.c.ended.is_(None))
        return await connection.scalar(query) or 0

    def locked(self, call: SavedCall) -> str | None:
        """The state as it is kept."""
        if call.state is None:
            return None
        return self._vault.lock(msgspec.json.encode(call.state).decode(), _purpose(call.tenant, call.id))

    def _readable(self, rows: Iterable[Row[Any]]) -> Iterator[SavedCall]:
        for row in rows:
            with suppress(StoreUnavailable):
                yield self._saved(row)

    def _saved(self, row: Row[Any]) -> SavedCall:
        return SavedCall(
            tenant=row.tenant_id,
            id=row.id,
            account=row.account,
            number=row.number,
            caller=row.caller,
            flow=row.flow_id,
            version=row.version or 0,
            revision=row.revision,
            generation=row.generation,
            started=row.started,
            ended=row.ended or 0,
            outcome=row.outcome,
            disposition=row.disposition,
            department=row.department,
            state=self._opened(row),
            due=row.due or 0,
            told=row.told or "",
            sequence=getattr(row, "sequence", 0),
        )

    def _opened(self, row: Row[Any]) -> dict[str, Any] | None:
        """Raises StoreUnavailable: a key of VOCELIO_SECRET_KEY may be on its way to us, and others may have it."""
        if row.state is None:
            return None
        try:
            state: dict[str, Any] = msgspec.json.decode(self._vault.open(row.state, _purpose(row.tenant_id, row.id)))
        except VaultError as error:
            LOG.error("call %s: its state cannot be read: %s", row.id, error)
            raise StoreUnavailable from error
        return state


def _whole() -> Select[Any]:
    return select(calls, _LAST_EVENT)


def _purpose(tenant: str, call: str) -> str:
    return f"{tenant}/call/{call}"
