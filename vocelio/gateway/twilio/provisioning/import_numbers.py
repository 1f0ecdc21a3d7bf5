"""What numbers a Twilio account has, and making them the tenant's here.

The platform's account has many tenants' numbers. Its own keys see all of them; a tenant's sees those that are its own.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vocelio.gateway.errors import Conflict, Invalid
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_REST, Desk
from vocelio.gateway.twilio.provisioning.drift import listed
from vocelio.gateway.twilio.provisioning.reconcile import missing, shown
from vocelio.gateway.twilio.rest_client import AccountNumber

MOST = 1_000  # numbers that one request imports: each is a change with its place on the trail

Here = Literal["yours", "another's", "no"]


class Offered(msgspec.Struct, frozen=True):
    """A number of the account. ``override`` is the SID of an application or a trunk that answers its calls.

    ``here`` is whether this gateway has the number: `yours`, `another's` or `no`.
    """

    number: str
    name: str
    here: Here
    webhooks: Webhooks
    override: str


class ToImport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which numbers of the account: those that are named, or ``all`` that nobody has here."""

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(max_length=MOST)] = ()
    all: bool = False


class Skipped(msgspec.Struct, frozen=True):
    """A number that was not imported, and why."""

    number: str
    reason: str


class Imported(msgspec.Struct, frozen=True):
    """What was imported. ``more`` is how many are left for another request like it."""

    imported: list[str]
    skipped: list[Skipped]
    more: int = 0


async def offered(desk: Desk, actor: Actor) -> list[Offered]:
    """What the account has that the actor may see, by number. Raises Conflict, TwilioError, TooMany, VaultError."""
    _, found = await _listed(desk, actor)
    return [
        Offered(one.number, one.name, here, shown(one.webhooks), one.override)
        for one, here in sorted(found, key=lambda pair: pair[0].number)
    ]


async def import_numbers(desk: Desk, actor: Actor, wanted: ToImport) -> Imported:
    """Make numbers of the account the tenant's. Raises as ``offered`` does, and Invalid."""
    if wanted.all == bool(wanted.numbers):
        raise Invalid("Name the numbers to import, or say that it is all of them, and not both.")
    account, found = await _listed(desk, actor)
    free = {one.number: one for one, here in found if here == "no"}
    known = {one.number for one, _ in found} - free.keys()
    names = sorted(free) if wanted.all else list(dict.fromkeys(wanted.numbers))
    done = Imported([], [], max(0, len(names) - MOST))
    for number in names[:MOST]:
        reason = await _import(desk, actor, free[number]) if number in free else _why_not(number, known, account)
        if reason:
            done.skipped.append(Skipped(number, reason))
        else:
            done.imported.append(number)
    return done


async def _listed(desk: Desk, actor: Actor) -> tuple[str, list[tuple[AccountNumber, Here]]]:
    credential = await desk.credentials.of(actor.tenant)
    if not credential.has_rest:
        raise Conflict(NO_REST)
    async with desk.turn():
        found = await listed(desk.account(credential))
    owners = await numbers.owners(desk.database, [one.number for one in found])
    told: list[tuple[AccountNumber, Here]] = [(one, _here(owners.get(one.number), actor.tenant)) for one in found]
    sees_all = credential.own or actor.role == "platform"
    return credential.account, [pair for pair in told if sees_all or pair[1] == "yours"]


def _here(owner: str | None, tenant: str) -> Here:
    if owner is None:
        return "no"
    return "yours" if owner == tenant else "another's"


async def _import(desk: Desk, actor: Actor, one: AccountNumber) -> str:
    """Why not, or nothing."""
    try:
        label = msgspec.convert(one.name.replace("\0", "")[:200], numbers.Label)
        await numbers.create(desk.database, actor, NewNumber(one.number, label))
    except Conflict as error:
        return str(error)
    return ""


def _why_not(number: str, known: set[str], account: str) -> str:
    return f"{number} is here already." if number in known else missing(number, account)
