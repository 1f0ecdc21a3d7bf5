"""A tenant's telephone numbers, the flow that each leads to, and the history of that.

A number has one owner in the whole system. Who that is, another tenant does not learn.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Problem
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import Conflict, Invalid, NotFound
from vocelio.gateway.model.types import Name, PhoneNumber
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.db.schema import assignments, numbers
from vocelio.gateway.store.flows import drafts
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.tenants import dial_context

MAX_NUMBERS = 10_000  # of a tenant
AT_ONCE = 500  # numbers that one query asks for: SQLite takes 999 parameters at least
MAX_PLACE = 2_147_483_647  # what its column holds

Label = Annotated[str, Meta(max_length=200)]


class Number(msgspec.Struct, frozen=True):
    """A number: the ``flow`` that answers it, if any, and the ``fallback`` for when none can."""

    number: str
    label: str
    flow: str | None
    fallback: str | None
    created: int


class NewNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number to be made. Calls go to ``fallback``, another number, when nothing here can answer them."""

    number: PhoneNumber
    label: Label = ""
    fallback: PhoneNumber | None = None


class NumberChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different about a number; the rest stays."""

    label: Label | UnsetType = UNSET
    fallback: PhoneNumber | UnsetType | None = UNSET


class NewAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The flow that is to answer."""

    flow: Name


class Assigned(msgspec.Struct, frozen=True):
    """A line of a number's history: the flow it led to from then on (None: to none), and whose key made it so."""

    place: int
    flow: str | None
    by: str
    at: int


async def every(database: Database, tenant: str, limit: int, cursor: str) -> Items[Number]:
    """A tenant's, in order. Raises Invalid."""
    last = pagination.after(cursor, str)
    query = select(numbers).where(numbers.c.tenant_id == tenant).order_by(numbers.c.number).limit(limit + 1)
    if last:
        query = query.where(numbers.c.number > last[0])
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.cut(rows, limit, _told, lambda row: (row.number,))


async def show(database: Database, tenant: str, number: str) -> Number:
    """One number. Raises NotFound."""
    async with database.reading() as connection:
        return _told(await _found(connection, _one(tenant, number)))


async def create(database: Database, actor: Actor, new: NewNumber) -> Number:
    """Make a number. Raises Invalid, Conflict."""
    row = {"tenant_id": actor.tenant, "number": new.number, "label": new.label, "fallback": new.fallback}
    made = Number(new.number, new.label, None, new.fallback, actor.at)
    try:
        async with database.writing() as connection:
            query = select(func.count()).select_from(numbers).where(numbers.c.tenant_id == actor.tenant)
            if (await connection.scalar(query) or 0) >= MAX_NUMBERS:
                raise Conflict(f"There are {MAX_NUMBERS:,} numbers, which is all there can be. Remove one first.")
            await _check_fallback(connection, actor.tenant, new.number, new.fallback)
            await _check_destination(connection, actor.tenant, new.number, new.fallback)
            await connection.execute(insert(numbers).values(flow_id=None, created=actor.at, **row))
            await actor.record(connection, "number.created", new.number, None, made)
    except IntegrityError:
        raise Conflict(f"{new.number} is there already: a number is made once.") from None  # whoever has it
    return made


async def change(database: Database, actor: Actor, number: str, wanted: NumberChange) -> Number:
    """Change a number's label or fallback. Raises NotFound, Invalid."""
    async with database.writing() as connection:
        before = _told(await _held(connection, actor.tenant, number))
        parts = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
        after = msgspec.structs.replace(before, **parts)
        await _check_fallback(connection, actor.tenant, number, after.fallback)
        if after.fallback != before.fallback:  # the rules may have become stricter: a label can still be changed
            await _check_destination(connection, actor.tenant, number, after.fallback)
        if after != before:
            await _update(connection, actor.tenant, number, label=after.label, fallback=after.fallback)
            await actor.record(connection, "number.changed", number, before, after)
    return after


async def remove(database: Database, actor: Actor, number: str) -> None:
    """Give a number up; its history stays. Raises NotFound, Conflict."""
    async with database.writing() as connection:
        before = _told(await _held(connection, actor.tenant, number))
        if before.flow is not None:
            raise Conflict(f"{number} leads to the flow {before.flow}. Unassign it first.")
        where = (numbers.c.tenant_id == actor.tenant, numbers.c.number == number)
        await connection.execute(delete(numbers).where(*where))
        await actor.record(connection, "number.removed", number, before)


async def assign(database: Database, actor: Actor, number: str, flow: str) -> Number:
    """Let a flow answer a number from the next call on. Raises NotFound, Invalid, Conflict."""
    async with database.writing() as connection:
        row = await _held(connection, actor.tenant, number)
        try:
            active = (await drafts.found(connection, actor.tenant, flow)).active
        except NotFound:
            problem = Problem("flow", "no-such-flow", f"there is no flow `{flow}`")
            raise Invalid("The number can lead to no such flow.", [problem]) from None
        if active is None:
            raise Conflict(f"The flow {flow} has no version that could answer. Promote it first.")
        return await _lead(connection, actor, row, flow)


async def unassign(database: Database, actor: Actor, number: str) -> Number:
    """Let a number lead nowhere: its calls hear an apology, or go to its fallback. Raises NotFound."""
    async with database.writing() as connection:
        return await _lead(connection, actor, await _held(connection, actor.tenant, number), None)


async def owners(database: Database, wanted: Sequence[str]) -> dict[str, str]:
    """Whose numbers these are, of those that are anybody's."""
    found = dict[str, str]()
    async with database.reading() as connection:
        for start in range(0, len(wanted), AT_ONCE):
            some = numbers.c.number.in_(wanted[start : start + AT_ONCE])
            rows = await connection.execute(select(numbers.c.number, numbers.c.tenant_id).where(some))
            found |= {row.number: row.tenant_id for row in rows}
    return found


async def history(database: Database, tenant: str, number: str, limit: int, cursor: str) -> Items[Assigned]:
    """What a number led to, the newest first, also when it is no longer there. Raises NotFound, Invalid."""
    last = pagination.after(cursor, int)
    mine = (assignments.c.tenant_id == tenant, assignments.c.number == number)
    query = select(assignments).where(*mine).order_by(assignments.c.place.desc()).limit(limit + 1)
    if last:
        query = query.where(assignments.c.place < min(last[0], MAX_PLACE))
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
        if not rows and not (await connection.execute(select(assignments.c.place).where(*mine).limit(1))).first():
            await _found(connection, _one(tenant, number))
    return pagination.cut(rows, limit, _line, lambda row: (row.place,))


async def _lead(connection: AsyncConnection, actor: Actor, row: Row[Any], flow: str | None) -> Number:
    """The number's row is held, so that its history has one order."""
    before = _told(row)
    if before.flow == flow:
        return before
    await _update(connection, actor.tenant, row.number, flow_id=flow)
    mine = (assignments.c.tenant_id == actor.tenant, assignments.c.number == row.number)
    place = 1 + (await connection.scalar(select(func.max(assignments.c.place)).where(*mine)) or 0)
    line = {"tenant_id": actor.tenant, "number": row.number, "place": place, "flow_id": flow}
    await connection.execute(insert(assignments).values(by=actor.key, at=actor.at, **line))
    if bool(flow) != bool(before.flow):
        await (queue.want if flow else queue.unwant)(connection, actor.tenant, row.number, actor.at)
    action = "number.assigned" if flow else "number.unassigned"
    await actor.record(connection, action, row.number, {"flow": before.flow}, {"flow": flow})
    return msgspec.structs.replace(before, flow=flow)


async def _update(connection: AsyncConnection, tenant: str, number: str, **parts: Any) -> None:
    where = (numbers.c.tenant_id == tenant, numbers.c.number == number)
    await connection.execute(update(numbers).where(*where).values(**parts))


async def _held(connection: AsyncConnection, tenant: str, number: str) -> Row[Any]:
    """The number's row, which nobody else changes until the transaction ends. Raises NotFound."""
    return await _found(connection, _one(tenant, number).with_for_update())


async def _found(connection: AsyncConnection, query: Select[Any]) -> Row[Any]:
    row: Row[Any] | None = (await connection.execute(query)).first()
    if row is None:
        raise NotFound
    return row


def _one(tenant: str, number: str) -> Select[Any]:
    return select(numbers).where(numbers.c.tenant_id == tenant, numbers.c.number == number)


async def _check_fallback(connection: AsyncConnection, tenant: str, number: str, fallback: str | None) -> None:
    """Where the gateway cannot answer, it can answer no number: calls would go round in a circle, each of them paid."""
    where = (numbers.c.tenant_id == tenant, numbers.c.number == fallback)
    if fallback == number or (fallback and await connection.scalar(select(numbers.c.number).where(*where))):
        problem = Problem("fallback", "own-number", "calls would come back here", "name a number outside the gateway")
        raise Invalid("A number that this gateway answers cannot be a fallback.", [problem])


async def _check_destination(connection: AsyncConnection, tenant: str, number: str, fallback: str | None) -> None:
    """Where the tenant's rules do not let calls go, they do not go in trouble either."""
    if fallback:
        rules = (await dial_context.read(connection, tenant))._replace(home=frozenset({dial_rules.region(number)}))
        if problems := list(validation.of_number(rules, "fallback", fallback)):
            raise Invalid("Calls cannot be put through to that fallback.", problems)


def _told(row: Row[Any]) -> Number:
    return Number(row.number, row.label, row.flow_id, row.fallback, row.created)


def _line(row: Row[Any]) -> Assigned:
    return Assigned(row.place, row.flow_id, row.by, row.at)
