"""What Twilio has, compared with what is wanted: number by number, for whoever asks.

A difference that was not known yet is kept and told to the tenant's watchers. Nothing is changed at Twilio here: that
is done when somebody asks for it.
"""

import asyncio
from contextlib import aclosing

import msgspec

from vocelio.gateway.crypto.encryption import VaultError
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.provisioning import queue, views
from vocelio.gateway.store.provisioning.queue import State, Webhooks
from vocelio.gateway.store.provisioning.views import Line
from vocelio.gateway.twilio.credentials import Credential
from vocelio.gateway.twilio.provisioning.context import NO_REST, Desk
from vocelio.gateway.twilio.provisioning.reconcile import missing, overridden, shown
from vocelio.gateway.twilio.rest_client import Account, AccountNumber

SECONDS = 20.0  # of listing an account's numbers, while somebody waits
DIFFERENT = "At Twilio the number is set to something else than we have set: "


class Difference(msgspec.Struct, frozen=True):
    """A field of the webhooks that is not as it should be."""

    field: str
    wanted: str
    found: str


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A number at Twilio. ``state`` is of what was done last; ``problem`` says what is wrong, and what to do about it.

    ``flow`` is null of a number that leads to none: then ``wanted`` is what was there before it led to one, until that
    is put back, and null after that. ``found`` is null when the account does not have the number, or could not be
    asked. ``since`` is when it was set last, ``next`` when it is tried again (microseconds UTC).
    """

    number: str
    flow: str | None
    label: str
    state: State | None
    problem: str = ""
    wanted: Webhooks | None = None
    found: Webhooks | None = None
    difference: list[Difference] = []
    since: int | None = None
    attempts: int = 0
    next: int | None = None


class Registrations(Items[Registration], frozen=True, kw_only=True):
    """A page of a tenant's numbers. ``problem`` is why the ``account`` could not be asked, if so."""

    account: str
    own: bool
    managed: bool
    problem: str = ""


async def check(desk: Desk, tenant: str, limit: int, cursor: str) -> Registrations:
    """A page of a tenant's numbers, compared. Raises Invalid, StoreUnavailable, TooMany."""
    page = await views.every(desk.database, tenant, limit, cursor)
    credential = await _credential(desk, tenant)
    problem, found = "", dict[str, AccountNumber]()
    if isinstance(credential, str):
        problem, credential = credential, Credential("", "", own=True)
    elif not credential.has_rest:
        problem = NO_REST
    else:
        try:
            found = await _found(desk, credential, {line.number for line in page.items})
        except TwilioError as error:
            problem = str(error)
    compared = [
        await _compared(desk, line, found.get(line.number), credential.account if not problem else "")
        for line in page.items
    ]
    own, account = credential.own, credential.account
    return Registrations(compared, page.next, account=account, own=own, managed=credential.has_rest, problem=problem)


async def needing_repair(desk: Desk, tenant: str) -> list[str]:
    """The numbers of a tenant's that are not as they should be. Raises TwilioError, and as ``check`` does."""
    wanting, cursor = list[str](), ""
    while True:
        page = await check(desk, tenant, PAGE, cursor)
        if page.problem and page.managed:
            raise TwilioError(page.problem)
        wanting += [one.number for one in page.items if one.state != "registered" and one.wanted]
        cursor = page.next
        if not cursor:
            return wanting


PAGE = 1_000


async def _credential(desk: Desk, tenant: str) -> Credential | str:
    """The tenant's, or why it cannot be used."""
    try:
        return await desk.credentials.of(tenant)
    except VaultError as error:
        return str(error)


async def _found(desk: Desk, credential: Credential, wanted: set[str]) -> dict[str, AccountNumber]:
    """Those of the numbers that the account has."""
    async with desk.turn():
        return {one.number: one for one in await listed(desk.account(credential), wanted) if one.number in wanted}


async def listed(account: Account, wanted: set[str] | None = None) -> list[AccountNumber]:
    """An account's numbers: all, or until each that is wanted is among them. Raises TwilioError, in bounded time."""
    found, missed = list[AccountNumber](), set(wanted) if wanted is not None else None
    try:
        async with asyncio.timeout(SECONDS), aclosing(account.numbers()) as numbers:
            async for one in numbers:
                found.append(one)
                if missed is not None:
                    missed.discard(one.number)
                    if not missed:
                        break
    except TimeoutError:
        raise TwilioError("Twilio's API takes too long to list the account's numbers.") from None
    return found


async def _compared(desk: Desk, line: Line, found: AccountNumber | None, account: str) -> Registration:
    """``account`` is the one that was asked, empty when none was."""
    kept = line.kept
    if kept is None:
        wanted, state, problem = (desk.webhooks if line.flow else None), None, ""
    else:
        wanted, state, problem = (desk.webhooks if kept.wanted else kept.former), kept.state, kept.problem
    difference = _difference(wanted, found.webhooks) if wanted and found else []
    if account and kept and kept.wanted and state in ("registered", "drifted"):
        problem = _drift(line.number, found, difference, account)
        state = "drifted" if problem else "registered"
        if await queue.observe(desk.database, kept, state, problem, desk.wall()) and problem:
            desk.publish("number.drifted", kept.tenant, number=line.number, problem=problem)
    return Registration(
        number=line.number,
        flow=line.flow,
        label=line.label,
        state=state,
        problem=problem,
        wanted=shown(wanted) if wanted else None,
        found=shown(found.webhooks) if found else None,
        difference=difference,
        since=kept.since if kept else None,
        attempts=kept.attempts if kept else 0,
        next=kept.due if kept else None,
    )


def _difference(wanted: Webhooks, found: Webhooks) -> list[Difference]:
    fields = zip(Webhooks.__struct_fields__, *map(msgspec.structs.astuple, (wanted, found)), strict=True)
    seen = zip(*map(msgspec.structs.astuple, (shown(wanted), shown(found))), strict=True)
    return [Difference(name, *both) for (name, one, other), both in zip(fields, seen, strict=True) if one != other]


def _drift(number: str, found: AccountNumber | None, difference: list[Difference], account: str) -> str:
    """What is wrong with a number that was set once; empty when nothing is."""
    if found is None:
        return missing(number, account)
    if found.override:
        return overridden(found)
    return DIFFERENT + ", ".join(one.field for one in difference) + "." if difference else ""
