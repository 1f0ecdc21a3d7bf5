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

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import Conflict, NotFound, UnprocessableContent
from vocelio.gateway.model.types import PhoneNumber, ResourceName
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import number_assignments, numbers
from vocelio.gateway.store.flows import drafts
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.tenants import tenants

MAX_NUMBERS = 10_000  # of a tenant
QUERY_BATCH_SIZE = 500  # numbers that one query asks for: SQLite takes 999 parameters at least
MAX_POSITION = 2_147_483_647  # what its column holds

Label = Annotated[str, Meta(max_length=200)]


class Number(msgspec.Struct, frozen=True):
    """A number: the ``flow`` that answers it, if any, and the ``fallback_number`` for when none can."""

    number: str
    label: str
    flow: str | None
    fallback_number: str | None
    created_at: int


class NewNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number to be made. Calls go to ``fallback_number``, another number, when nothing here can answer them."""

    number: PhoneNumber
    label: Label = ""
    fallback_number: PhoneNumber | None = None


class NumberUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different about a number; the rest stays."""

    label: Label | UnsetType = UNSET
    fallback_number: PhoneNumber | UnsetType | None = UNSET


class NewAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The flow that is to answer."""

    flow: ResourceName


class AssignmentRecord(msgspec.Struct, frozen=True):
    """A line of a number's history: the flow it led to from then on (None: to none), and whose key made it so."""

    position: int
    flow: str | None
    created_by: str
    created_at: int


async def list_numbers(database: Database, tenant: str, limit: int, cursor: str) -> Page[Number]:
    """A tenant's, in order. Raises Invalid."""
    last = pagination.decode_cursor(cursor, str)
    query = select(numbers).where(numbers.c.tenant_id == tenant).order_by(numbers.c.number).limit(limit + 1)
    if last:
        query = query.where(numbers.c.number > last[0])
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.number,))


async def get_number(database: Database, tenant: str, number: str) -> Number:
    """One number. Raises NotFound."""
    async with database.read() as connection:
        return _from_row(await _fetch_row(connection, _select_number(tenant, number)))


async def create_number(database: Database, actor: Actor, new: NewNumber) -> Number:
    """Make a number. Raises Invalid, Conflict."""
    row = {"tenant_id": actor.tenant, "number": new.number, "label": new.label, "fallback_number": new.fallback_number}
    made = Number(new.number, new.label, None, new.fallback_number, actor.now)
    try:
        async with database.transaction() as connection:
            query = select(func.count()).select_from(numbers).where(numbers.c.tenant_id == actor.tenant)
            if (await connection.scalar(query) or 0) >= MAX_NUMBERS:
                raise Conflict(f"There are {MAX_NUMBERS:,} numbers, which is all there can be. Remove one first.")
            await _check_fallback(connection, actor.tenant, new.number, new.fallback_number)
            await _check_destination(connection, actor.tenant, new.number, new.fallback_number)
            await connection.execute(insert(numbers).values(flow_id=None, created_at=actor.now, **row))
            await actor.audit(connection, "number.created", new.number, None, made)
    except IntegrityError:
        raise Conflict(f"{new.number} is there already: a number is made once.") from None  # whoever has it
    return made


async def update_number(database: Database, actor: Actor, number: str, changes: NumberUpdate) -> Number:
    """Change a number's label or fallback. Raises NotFound, Invalid."""
    async with database.transaction() as connection:
        before = _from_row(await _lock_row(connection, actor.tenant, number))
        parts = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
        after = msgspec.structs.replace(before, **parts)
        await _check_fallback(connection, actor.tenant, number, after.fallback_number)
        if (
            after.fallback_number != before.fallback_number
        ):  # the rules may have become stricter: a label can still be changed
            await _check_destination(connection, actor.tenant, number, after.fallback_number)
        if after != before:
            await _update_columns(
                connection, actor.tenant, number, label=after.label, fallback_number=after.fallback_number
            )
            await actor.audit(connection, "number.updated", number, before, after)
    return after


async def delete_number(database: Database, actor: Actor, number: str) -> None:
    """Give a number up; its history stays. Raises NotFound, Conflict."""
    async with database.transaction() as connection:
        before = _from_row(await _lock_row(connection, actor.tenant, number))
        if before.flow is not None:
            raise Conflict(f"{number} leads to the flow {before.flow}. Unassign it first.")
        where = (numbers.c.tenant_id == actor.tenant, numbers.c.number == number)
        await connection.execute(delete(numbers).where(*where))
        await actor.audit(connection, "number.deleted", number, before)


async def assign_number(database: Database, actor: Actor, number: str, flow: str) -> Number:
    """Let a flow answer a number from the next call on. Raises NotFound, Invalid, Conflict."""
    async with database.transaction() as connection:
        row = await _lock_row(connection, actor.tenant, number)
        try:
            active = (await drafts.get_row(connection, actor.tenant, flow)).active_version
        except NotFound:
            problem = Diagnostic("flow", "no-such-flow", f"there is no flow `{flow}`")
            raise UnprocessableContent("The number can lead to no such flow.", [problem]) from None
        if active is None:
            raise Conflict(f"The flow {flow} has no version that could answer. Promote it first.")
        return await _set_flow(connection, actor, row, flow)


async def unassign_number(database: Database, actor: Actor, number: str) -> Number:
    """Let a number lead nowhere: its calls hear an apology, or go to its fallback. Raises NotFound."""
    async with database.transaction() as connection:
        return await _set_flow(connection, actor, await _lock_row(connection, actor.tenant, number), None)


async def find_owners(database: Database, candidates: Sequence[str]) -> dict[str, str]:
    """Whose numbers these are, of those that are anybody's."""
    found = dict[str, str]()
    async with database.read() as connection:
        for start in range(0, len(candidates), QUERY_BATCH_SIZE):
            some = numbers.c.number.in_(candidates[start : start + QUERY_BATCH_SIZE])
            rows = await connection.execute(select(numbers.c.number, numbers.c.tenant_id).where(some))
            found |= {row.number: row.tenant_id for row in rows}
    return found


async def list_assignments(
    database: Database, tenant: str, number: str, limit: int, cursor: str
) -> Page[AssignmentRecord]:
    """What a number led to, the newest first, also when it is no longer there. Raises NotFound, Invalid."""
    last = pagination.decode_cursor(cursor, int)
    mine = (number_assignments.c.tenant_id == tenant, number_assignments.c.number == number)
    query = select(number_assignments).where(*mine).order_by(number_assignments.c.position.desc()).limit(limit + 1)
    if last:
        query = query.where(number_assignments.c.position < min(last[0], MAX_POSITION))
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
        if (
            not rows
            and not (await connection.execute(select(number_assignments.c.position).where(*mine).limit(1))).first()
        ):
            await _fetch_row(connection, _select_number(tenant, number))
    return pagination.make_page(rows, limit, _assignment_from_row, lambda row: (row.position,))


async def _set_flow(connection: AsyncConnection, actor: Actor, row: Row[Any], flow: str | None) -> Number:
    """The number's row is held, so that its history has one order."""
    before = _from_row(row)
    if before.flow == flow:
        return before
    await _update_columns(connection, actor.tenant, row.number, flow_id=flow)
    mine = (number_assignments.c.tenant_id == actor.tenant, number_assignments.c.number == row.number)
    place = 1 + (await connection.scalar(select(func.max(number_assignments.c.position)).where(*mine)) or 0)
    line = {"tenant_id": actor.tenant, "number": row.number, "position": place, "flow_id": flow}
    await connection.execute(insert(number_assignments).values(created_by=actor.key_id, created_at=actor.now, **line))
    if bool(flow) != bool(before.flow):
        await (queue.request_setup if flow else queue.request_restore)(connection, actor.tenant, row.number, actor.now)
    action = "number.assigned" if flow else "number.unassigned"
    await actor.audit(connection, action, row.number, {"flow": before.flow}, {"flow": flow})
    return msgspec.structs.replace(before, flow=flow)


async def _update_columns(connection: AsyncConnection, tenant: str, number: str, **parts: Any) -> None:
    where = (numbers.c.tenant_id == tenant, numbers.c.number == number)
    await connection.execute(update(numbers).where(*where).values(**parts))


async def _lock_row(connection: AsyncConnection, tenant: str, number: str) -> Row[Any]:
    """The number's row, which nobody else changes until the transaction ends. Raises NotFound."""
    return await _fetch_row(connection, _select_number(tenant, number).with_for_update())


async def _fetch_row(connection: AsyncConnection, query: Select[Any]) -> Row[Any]:
    row: Row[Any] | None = (await connection.execute(query)).first()
    if row is None:
        raise NotFound
    return row


def _select_number(tenant: str, number: str) -> Select[Any]:
    return select(numbers).where(numbers.c.tenant_id == tenant, numbers.c.number == number)


async def _check_fallback(connection: AsyncConnection, tenant: str, number: str, fallback: str | None) -> None:
    """Where the gateway cannot answer, it can answer no number: calls would go round in a circle, each of them paid."""
    where = (numbers.c.tenant_id == tenant, numbers.c.number == fallback)
    if fallback == number or (fallback and await connection.scalar(select(numbers.c.number).where(*where))):
        problem = Diagnostic(
            "fallback_number", "own-number", "calls would come back here", "name a number outside the gateway"
        )
        raise UnprocessableContent("A number that this gateway answers cannot be a fallback.", [problem])


async def _check_destination(connection: AsyncConnection, tenant: str, number: str, fallback: str | None) -> None:
    """Where the tenant's rules do not let calls go, they do not go in trouble either."""
    if fallback:
        rules = (await tenants.load_dial_context(connection, tenant))._replace(
            home_countries=frozenset({dial_rules.country_of(number)})
        )
        if problems := list(validation.check_number(rules, "fallback_number", fallback)):
            raise UnprocessableContent("Calls cannot be put through to that fallback.", problems)


def _from_row(row: Row[Any]) -> Number:
    return Number(row.number, row.label, row.flow_id, row.fallback_number, row.created_at)


def _assignment_from_row(row: Row[Any]) -> AssignmentRecord:
    return AssignmentRecord(row.position, row.flow_id, row.created_by, row.created_at)


async def is_tenant_number(database: Database, tenant: str, number: str) -> bool:
    """Whether the number is one of the tenant's."""
    query = select(numbers.c.number).where(numbers.c.tenant_id == tenant, numbers.c.number == number)
    async with database.read() as connection:
        return (await connection.execute(query)).first() is not None
