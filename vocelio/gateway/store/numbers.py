"""Phone numbers: the flow that each leads to, and the history of its assignments.

A number belongs to one tenant across the whole system. Other tenants are not told to which one. It is claimed under a
Twilio account, the tenant's own or the platform's, and only that account's calls reach it. A claim that Twilio has
confirmed takes the number from any other: who owns a number is decided by the account that has it.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.clock import Instant
from vocelio.gateway.dialing import rules as dial_rules
from vocelio.gateway.dialing import validation
from vocelio.gateway.errors import AlreadyExists, Conflict, InvalidInput, NotFound, QuotaExceeded
from vocelio.gateway.model.types import PhoneNumber, ResourceName
from vocelio.gateway.store import number_provisioning
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db import pagination
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.db.schema import number_assignments, numbers
from vocelio.gateway.store.flows import drafts
from vocelio.gateway.store.tenants import tenants

MAX_NUMBERS = 10_000  # of a tenant
QUERY_BATCH_SIZE = 500  # numbers in one query: SQLite allows at least 999 parameters
MAX_POSITION = 2_147_483_647  # of its column's type

Label = Annotated[str, Meta(max_length=200)]


class Number(msgspec.Struct, frozen=True):
    """A number with the ``flow`` that answers it, if any, and the ``fallback_number`` for when no flow can.

    ``account_sid`` is the Twilio account under which it is claimed, empty for the platform's.
    """

    number: str
    label: str
    flow: str | None
    fallback_number: str | None
    created_at: Instant
    account_sid: str = ""


class NumberClaim(msgspec.Struct, frozen=True):
    """The Twilio account under which a number is claimed; None is the platform's, whichever that is at the time.

    ``proven``: Twilio has confirmed that the account has the number.
    """

    account_sid: str | None = None
    proven: bool = False


UNPROVEN_PLATFORM_CLAIM = NumberClaim()


class NewNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number to create. Calls are forwarded to ``fallback_number`` when no flow can answer them."""

    number: PhoneNumber
    label: Label = ""
    fallback_number: PhoneNumber | None = None


class NumberUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields to change; those that are left out keep their values."""

    label: Label | UnsetType = UNSET
    fallback_number: PhoneNumber | UnsetType | None = UNSET


class NewAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The flow that is to answer."""

    flow: ResourceName


class AssignmentRecord(msgspec.Struct, frozen=True):
    """One assignment in a number's history: the flow (null: unassigned) that answered from ``created_at`` on."""

    position: int
    flow: str | None
    created_by: str
    created_at: Instant


async def list_numbers(database: Database, tenant: str, limit: int, cursor: str) -> Page[Number]:
    """List a tenant's numbers, in order. Raises InvalidInput."""
    last_key = pagination.decode_cursor(cursor, str)
    query = select(numbers).where(numbers.c.tenant_id == tenant).order_by(numbers.c.number).limit(limit + 1)
    if last_key:
        query = query.where(numbers.c.number > last_key[0])
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return pagination.make_page(rows, limit, _from_row, lambda row: (row.number,))


async def get_number(database: Database, tenant: str, number: str) -> Number:
    """Return one number. Raises NotFound."""
    async with database.read() as connection:
        return _from_row(await _fetch_row(connection, _select_number(tenant, number)))


async def create_number(
    database: Database, actor: Actor, new: NewNumber, claim: NumberClaim = UNPROVEN_PLATFORM_CLAIM
) -> Number:
    """Create a number under a claim. A proven claim takes the number from whoever claimed it under another account.

    Raises InvalidInput, AlreadyExists, QuotaExceeded.
    """
    values = {
        "tenant_id": actor.tenant,
        "number": new.number,
        "label": new.label,
        "fallback_number": new.fallback_number,
        "account_sid": claim.account_sid,
    }
    created = Number(
        new.number, new.label, None, new.fallback_number, Instant(actor.now), account_sid=claim.account_sid or ""
    )
    try:
        async with database.transaction() as connection:
            await _revoke_other_claim(connection, actor, new.number, claim)
            query = select(func.count()).select_from(numbers).where(numbers.c.tenant_id == actor.tenant)
            if (await connection.scalar(query) or 0) >= MAX_NUMBERS:
                raise QuotaExceeded(f"A tenant can have at most {MAX_NUMBERS:,} numbers. Delete one first.")
            await _check_fallback(connection, actor.tenant, new.number, new.fallback_number)
            await _check_destination(connection, actor.tenant, new.number, new.fallback_number)
            await connection.execute(insert(numbers).values(flow_id=None, created_at=actor.now, **values))
            await actor.audit(connection, "number.created", new.number, None, created)
    except IntegrityError:
        raise _already_exists(new.number) from None
    return created


async def _revoke_other_claim(connection: AsyncConnection, actor: Actor, number: str, claim: NumberClaim) -> None:
    """Delete the number where it is claimed without being there. Raises AlreadyExists if that claim stands.

    A tenant's own account cannot be another tenant's, so another tenant's claim under it is outdated.
    """
    row = (await connection.execute(select(numbers).where(numbers.c.number == number).with_for_update())).first()
    if row is None:
        return
    is_same_claim = row.account_sid == claim.account_sid and (row.tenant_id == actor.tenant or not claim.account_sid)
    if not claim.proven or is_same_claim:
        raise _already_exists(number)
    former = Actor("twilio", "platform", row.tenant_id, "", actor.now)  # the trail does not tell who has it now
    if row.flow_id is not None:
        await _append_assignment(connection, former, number, None)
    await number_provisioning.delete_row(connection, row.tenant_id, number)
    await connection.execute(delete(numbers).where(numbers.c.tenant_id == row.tenant_id, numbers.c.number == number))
    await former.audit(connection, "number.claim_revoked", number, _from_row(row))


def _already_exists(number: str) -> AlreadyExists:
    return AlreadyExists(f"The number {number} already exists.")  # perhaps at another tenant


async def update_number(database: Database, actor: Actor, number: str, changes: NumberUpdate) -> Number:
    """Change a number's label or fallback number. Raises NotFound, InvalidInput."""
    async with database.transaction() as connection:
        before = _from_row(await _lock_row(connection, actor.tenant, number))
        changed_fields = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
        after = msgspec.structs.replace(before, **changed_fields)
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
    """Delete a number; its history is kept. Raises NotFound, Conflict."""
    async with database.transaction() as connection:
        before = _from_row(await _lock_row(connection, actor.tenant, number))
        if before.flow is not None:
            raise Conflict(f"{number} is assigned to the flow {before.flow}. Unassign it first.")
        where = (numbers.c.tenant_id == actor.tenant, numbers.c.number == number)
        await connection.execute(delete(numbers).where(*where))
        await actor.audit(connection, "number.deleted", number, before)


async def assign_number(database: Database, actor: Actor, number: str, flow: str) -> Number:
    """Let a flow answer a number from the next call on. Raises NotFound, InvalidInput, Conflict."""
    async with database.transaction() as connection:
        row = await _lock_row(connection, actor.tenant, number)
        try:
            active = (await drafts.get_row(connection, actor.tenant, flow)).active_version
        except NotFound:
            problem = Diagnostic("flow", "no-such-flow", f"there is no flow `{flow}`")
            raise InvalidInput("Unknown flow.", [problem]) from None
        if active is None:
            raise Conflict(f"The flow {flow} has no active version. Promote it first.")
        return await _set_flow(connection, actor, row, flow)


async def unassign_number(database: Database, actor: Actor, number: str) -> Number:
    """Let no flow answer a number: callers hear a message or are forwarded to its fallback number. Raises NotFound."""
    async with database.transaction() as connection:
        return await _set_flow(connection, actor, await _lock_row(connection, actor.tenant, number), None)


async def find_owners(database: Database, account_sid: str | None, candidates: Sequence[str]) -> dict[str, str]:
    """Return the tenants of those of the numbers that are claimed under this account."""
    is_claimed = numbers.c.account_sid.is_not_distinct_from(account_sid)
    owners = dict[str, str]()
    async with database.read() as connection:
        for start in range(0, len(candidates), QUERY_BATCH_SIZE):
            is_in_batch = numbers.c.number.in_(candidates[start : start + QUERY_BATCH_SIZE])
            query = select(numbers.c.number, numbers.c.tenant_id).where(is_in_batch, is_claimed)
            owners |= {row.number: row.tenant_id for row in await connection.execute(query)}
    return owners


async def get_claimed_account(database: Database, tenant: str, number: str) -> str | None:
    """Return the account under which a number is claimed; None is the platform's. Raises NotFound."""
    async with database.read() as connection:
        account_sid: str | None = (await _fetch_row(connection, _select_number(tenant, number))).account_sid
    return account_sid


async def list_assignments(
    database: Database, tenant: str, number: str, limit: int, cursor: str
) -> Page[AssignmentRecord]:
    """List a number's assignments, newest first, also after it was deleted. Raises NotFound, InvalidInput."""
    last_key = pagination.decode_cursor(cursor, int)
    is_of_number = (number_assignments.c.tenant_id == tenant, number_assignments.c.number == number)
    query = (
        select(number_assignments).where(*is_of_number).order_by(number_assignments.c.position.desc()).limit(limit + 1)
    )
    if last_key:
        query = query.where(number_assignments.c.position < min(last_key[0], MAX_POSITION))
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
        if (
            not rows
            and not (
                await connection.execute(select(number_assignments.c.position).where(*is_of_number).limit(1))
            ).first()
        ):
            await _fetch_row(connection, _select_number(tenant, number))
    return pagination.make_page(rows, limit, _assignment_from_row, lambda row: (row.position,))


async def _set_flow(connection: AsyncConnection, actor: Actor, row: Row[Any], flow: str | None) -> Number:
    """Assign a flow. The number's row is locked, so that its history has one order."""
    before = _from_row(row)
    if before.flow == flow:
        return before
    await _update_columns(connection, actor.tenant, row.number, flow_id=flow)
    await _append_assignment(connection, actor, row.number, flow)
    if bool(flow) != bool(before.flow):
        await (number_provisioning.request_setup if flow else number_provisioning.request_restore)(
            connection, actor.tenant, row.number, actor.now
        )
    action = "number.assigned" if flow else "number.unassigned"
    await actor.audit(connection, action, row.number, {"flow": before.flow}, {"flow": flow})
    return msgspec.structs.replace(before, flow=flow)


async def _append_assignment(connection: AsyncConnection, actor: Actor, number: str, flow: str | None) -> None:
    is_of_number = (number_assignments.c.tenant_id == actor.tenant, number_assignments.c.number == number)
    position = 1 + (await connection.scalar(select(func.max(number_assignments.c.position)).where(*is_of_number)) or 0)
    values = {"tenant_id": actor.tenant, "number": number, "position": position, "flow_id": flow}
    await connection.execute(insert(number_assignments).values(created_by=actor.key_id, created_at=actor.now, **values))


async def _update_columns(connection: AsyncConnection, tenant: str, number: str, **parts: Any) -> None:
    where = (numbers.c.tenant_id == tenant, numbers.c.number == number)
    await connection.execute(update(numbers).where(*where).values(**parts))


async def _lock_row(connection: AsyncConnection, tenant: str, number: str) -> Row[Any]:
    """Return the number's row, locked until the transaction ends. Raises NotFound."""
    return await _fetch_row(connection, _select_number(tenant, number).with_for_update())


async def _fetch_row(connection: AsyncConnection, query: Select[Any]) -> Row[Any]:
    row: Row[Any] | None = (await connection.execute(query)).first()
    if row is None:
        raise NotFound
    return row


def _select_number(tenant: str, number: str) -> Select[Any]:
    return select(numbers).where(numbers.c.tenant_id == tenant, numbers.c.number == number)


async def _check_fallback(connection: AsyncConnection, tenant: str, number: str, fallback: str | None) -> None:
    """Reject a fallback number that this gateway answers: calls would loop, each round at the tenant's expense."""
    where = (numbers.c.tenant_id == tenant, numbers.c.number == fallback)
    if fallback == number or (fallback and await connection.scalar(select(numbers.c.number).where(*where))):
        problem = Diagnostic(
            "fallback_number", "own-number", "calls would come back to this gateway", "use a number outside the gateway"
        )
        raise InvalidInput("A number of this gateway cannot be a fallback number.", [problem])


async def _check_destination(connection: AsyncConnection, tenant: str, number: str, fallback: str | None) -> None:
    """Reject a fallback number that the tenant's dial rules do not allow."""
    if fallback:
        rules = (await tenants.load_dial_context(connection, tenant))._replace(
            home_countries=frozenset({dial_rules.country_of(number)})
        )
        if problems := list(validation.check_number(rules, "fallback_number", fallback)):
            raise InvalidInput("The dial rules do not allow this fallback number.", problems)


def _from_row(row: Row[Any]) -> Number:
    created_at = Instant(row.created_at)
    return Number(row.number, row.label, row.flow_id, row.fallback_number, created_at, row.account_sid or "")


def _assignment_from_row(row: Row[Any]) -> AssignmentRecord:
    return AssignmentRecord(row.position, row.flow_id, row.created_by, Instant(row.created_at))


async def is_tenant_number(database: Database, tenant: str, number: str, account_sid: str | None) -> bool:
    """Whether the number belongs to the tenant and is claimed under that account; None is the platform's."""
    is_claimed = numbers.c.account_sid.is_not_distinct_from(account_sid)
    query = select(numbers.c.number).where(numbers.c.tenant_id == tenant, numbers.c.number == number, is_claimed)
    async with database.read() as connection:
        return (await connection.execute(query)).first() is not None
