"""What each number is to be set to at Twilio, written in the transaction that wants it, and how far that is.

A row says what is wanted: our webhooks, or (once the number is unassigned) what was there before. Whoever carries it
out takes it for a while: until the lease ends nobody else may. Each new wish raises the revision, and what is found to
be of an older one is not carried on with. So a row is never done by two at once, and none is forgotten: who took it
and died is taken over from. A row with nothing left to do for a number that is not wanted is deleted.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.gateway.store.audit.actor import to_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import registrations, tenants

State = Literal["pending", "registered", "drifted", "failed", "overridden", "not_managed"]


class Webhooks(msgspec.Struct, frozen=True):
    """What a number at Twilio does with calls; empty for nothing."""

    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"


class Kept(msgspec.Struct, frozen=True):
    """A row. ``wanted`` is whether our webhooks are to be there; ``former`` were there before, ``made`` are ours;
    ``since`` is when these were last certain to be there.

    ``account`` is the Twilio account that the number was found in, empty as long as nothing was touched.
    """

    tenant: str
    number: str
    wanted: bool
    revision: int
    state: State
    problem: str
    account: str
    former: Webhooks | None
    made: Webhooks | None
    since: int | None
    attempts: int
    due: int | None
    holder: str


async def want(connection: AsyncConnection, tenant: str, number: str, at: int) -> None:
    """Our webhooks are to be there."""
    await _take_over(connection, tenant, number)
    changed = await connection.execute(
        update(registrations).where(*_of(tenant, number)).values(renewed(at, wanted=True))
    )
    if not changed.rowcount:
        row = {"tenant_id": tenant, "number": number, **renewed(at, wanted=True), "revision": 1}
        await connection.execute(insert(registrations).values(row))


async def unwant(connection: AsyncConnection, tenant: str, number: str, at: int) -> None:
    """What was there before is to be put back; if nothing was touched there is nothing to do.

    (Should somebody be about to touch it, the row that is gone tells so in time: see ``note``.)
    """
    await connection.execute(delete(registrations).where(*_of(tenant, number), registrations.c.account.is_(None)))
    await connection.execute(update(registrations).where(*_of(tenant, number)).values(renewed(at, wanted=False)))


async def look_again(connection: AsyncConnection, tenant: str, at: int) -> None:
    """All of a tenant's are to be tried anew: its account is another."""
    mine = (registrations.c.tenant_id == tenant, registrations.c.wanted)
    await connection.execute(update(registrations).where(*mine).values(renewed(at)))


async def look_again_at_unmanaged(database: Database, at: int) -> None:
    """What had no account is to be tried anew: now there may be one."""
    async with database.writing() as connection:
        where = registrations.c.state == "not_managed"
        await connection.execute(update(registrations).where(where).values(renewed(at)))


async def take(database: Database, holder: str, now: int, until: int, limit: int) -> list[Kept]:
    """Rows that are due and nobody's at present, at most ``limit``: they are the holder's until then."""
    free = (registrations.c.due <= now, or_(registrations.c.lease.is_(None), registrations.c.lease <= now))
    key = (registrations.c.tenant_id, registrations.c.number)
    async with database.reading() as connection:
        query = select(*key).where(*free).order_by(registrations.c.due).limit(limit)
        due = (await connection.execute(query)).all()
    taken = []
    for tenant, number in due:
        statement = update(registrations).where(*_of(tenant, number), *free).values(holder=holder, lease=until)
        async with database.writing() as connection:
            row = (await connection.execute(statement.returning(registrations))).first()
        if row is not None:
            taken.append(kept(row))
    return taken


async def note(database: Database, task: Kept, account: str, former: Webhooks, made: Webhooks, until: int) -> bool:
    """Keep what is there before it is changed. False when the task is not ours any more, or not what is wanted."""
    values: dict[str, Any] = {"account": account, "former": to_json(former), "made": to_json(made), "lease": until}
    if account != task.account:
        values["since"] = None
    async with database.writing() as connection:
        return await _change(connection, *_held(task), registrations.c.revision == task.revision, **values)


async def finish(
    database: Database,
    task: Kept,
    state: State,
    at: int,
    *,
    problem: str = "",
    attempts: int = 0,
    due: int | None = None,
) -> bool:
    """How a task ended. False when something else is wanted meanwhile: then it is only given back."""
    values: dict[str, Any] = {"state": state, "problem": problem, "attempts": attempts, "due": due, "changed": at}
    if state == "registered":
        values["since"] = at
    async with database.writing() as connection:
        done = await _change(connection, *_held(task), registrations.c.revision == task.revision, **values, **_NOBODYS)
        if not done:
            await _change(connection, *_held(task), **_NOBODYS)
        return done


async def forget(database: Database, task: Kept) -> bool:
    """All is as it was before us. False when something else is wanted meanwhile."""
    async with database.writing() as connection:
        where = (*_held(task), registrations.c.revision == task.revision)
        if (await connection.execute(delete(registrations).where(*where))).rowcount:
            return True
        await _change(connection, *_held(task), **_NOBODYS)
        return False


async def give_back_one(database: Database, task: Kept) -> None:
    """It is not ours to do any more, or not yet: others may at once."""
    async with database.writing() as connection:
        await _change(connection, *_held(task), **_NOBODYS)


async def give_back(database: Database, holder: str) -> None:
    """All that one holder has, when it ends."""
    async with database.writing() as connection:
        await _change(connection, registrations.c.holder == holder, **_NOBODYS)


async def observe(database: Database, seen: Kept, state: State, problem: str, at: int) -> bool:
    """What a look at Twilio showed of a row. False when it is known already, or the row has changed since."""
    same = (registrations.c.revision == seen.revision, registrations.c.state == seen.state)
    if (state, problem) == (seen.state, seen.problem):
        return False
    async with database.writing() as connection:
        where = (*_of(seen.tenant, seen.number), *same)
        return await _change(connection, *where, state=state, problem=problem, changed=at)


async def _take_over(connection: AsyncConnection, tenant: str, number: str) -> None:
    """A number that another tenant has given up, and that is not put back yet, at the platform's account.

    Else the two would undo each other's, and what was there before would be forgotten.
    """
    others = (registrations.c.number == number, registrations.c.tenant_id != tenant)
    row = (await connection.execute(select(registrations).where(*others).with_for_update())).first()
    if row is None:
        return
    both = select(tenants.c.id, tenants.c.account).where(tenants.c.id.in_([tenant, row.tenant_id]))
    accounts = {one.id: one.account for one in await connection.execute(both)}
    if row.account is None:
        await connection.execute(delete(registrations).where(*others))
    elif accounts[tenant] is None and accounts[row.tenant_id] != row.account:
        await connection.execute(update(registrations).where(*others).values(tenant_id=tenant))


async def _change(connection: AsyncConnection, *where: ColumnElement[bool], **values: Any) -> bool:
    return bool((await connection.execute(update(registrations).where(*where).values(values))).rowcount)


_NOBODYS: dict[str, None] = {"holder": None, "lease": None}


def renewed(at: int, **values: Any) -> dict[str, Any]:
    """The columns of a row that is to be carried out (anew)."""
    tried = {"state": "pending", "problem": "", "attempts": 0, "due": at, "changed": at}
    return {**tried, "revision": registrations.c.revision + 1, **values}


def _of(tenant: str, number: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return registrations.c.tenant_id == tenant, registrations.c.number == number


def _held(task: Kept) -> tuple[ColumnElement[bool], ...]:
    return *_of(task.tenant, task.number), registrations.c.holder == task.holder


def kept(row: Row[Any]) -> Kept:
    """A row of the table."""
    return Kept(
        row.tenant_id,
        row.number,
        row.wanted,
        row.revision,
        row.state,
        row.problem,
        row.account or "",
        _webhooks(row.former),
        _webhooks(row.made),
        row.since,
        row.attempts,
        row.due,
        row.holder or "",
    )


def _webhooks(text: str | None) -> Webhooks | None:
    return None if text is None else msgspec.json.decode(text, type=Webhooks)
