"""What numbers a Twilio account has, and making them the tenant's here.

The platform's account has many tenants' numbers. Its own keys see all of them; a tenant's sees those that are its own.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vocelio.gateway.errors import Conflict, UnprocessableContent
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, ProvisioningContext
from vocelio.gateway.twilio.provisioning.drift import list_numbers
from vocelio.gateway.twilio.provisioning.reconcile import masked, missing_message
from vocelio.gateway.twilio.rest_client import AccountNumber

MAX_IMPORT_NUMBERS = 1_000  # numbers that one request imports: each is a change with its place on the trail

Ownership = Literal["yours", "another's", "no"]


class AccountNumberInfo(msgspec.Struct, frozen=True):
    """A number of the account. ``override`` is the SID of an application or a trunk that answers its calls.

    ``here`` is whether this gateway has the number: `yours`, `another's` or `no`.
    """

    number: str
    name: str
    here: Ownership
    webhooks: Webhooks
    override: str


class ImportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which numbers of the account: those that are named, or ``all`` that nobody has here."""

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(max_length=MAX_IMPORT_NUMBERS)] = ()
    all: bool = False


class SkippedNumber(msgspec.Struct, frozen=True):
    """A number that was not imported, and why."""

    number: str
    reason: str


class ImportResult(msgspec.Struct, frozen=True):
    """What was imported. ``more`` is how many are left for another request like it."""

    imported: list[str]
    skipped: list[SkippedNumber]
    more: int = 0


async def list_account_numbers(context: ProvisioningContext, actor: Actor) -> list[AccountNumberInfo]:
    """What the account has that the actor may see, by number. Raises Conflict, TwilioError, TooMany, VaultError."""
    _, found = await _load_account_numbers(context, actor)
    return [
        AccountNumberInfo(one.number, one.name, here, masked(one.webhooks), one.override)
        for one, here in sorted(found, key=lambda pair: pair[0].number)
    ]


async def import_numbers(context: ProvisioningContext, actor: Actor, request: ImportRequest) -> ImportResult:
    """Make numbers of the account the tenant's. Raises as ``offered`` does, and Invalid."""
    if request.all == bool(request.numbers):
        raise UnprocessableContent("Name the numbers to import, or say that it is all of them, and not both.")
    account, found = await _load_account_numbers(context, actor)
    free = {one.number: one for one, here in found if here == "no"}
    known = {one.number for one, _ in found} - free.keys()
    names = sorted(free) if request.all else list(dict.fromkeys(request.numbers))
    done = ImportResult([], [], max(0, len(names) - MAX_IMPORT_NUMBERS))
    for number in names[:MAX_IMPORT_NUMBERS]:
        reason = (
            await _import_number(context, actor, free[number])
            if number in free
            else _skip_reason(number, known, account)
        )
        if reason:
            done.skipped.append(SkippedNumber(number, reason))
        else:
            done.imported.append(number)
    return done


async def _load_account_numbers(
    context: ProvisioningContext, actor: Actor
) -> tuple[str, list[tuple[AccountNumber, Ownership]]]:
    credential = await context.credentials.for_tenant(actor.tenant)
    if not credential.has_rest_api:
        raise Conflict(NO_ACCOUNT_MESSAGE)
    async with context.request_slot():
        found = await list_numbers(context.account_client(credential))
    owners = await numbers.find_owners(context.database, [one.number for one in found])
    told: list[tuple[AccountNumber, Ownership]] = [
        (one, _ownership(owners.get(one.number), actor.tenant)) for one in found
    ]
    sees_all = credential.tenant_owned or actor.role == "platform"
    return credential.account_sid, [pair for pair in told if sees_all or pair[1] == "yours"]


def _ownership(owner: str | None, tenant: str) -> Ownership:
    if owner is None:
        return "no"
    return "yours" if owner == tenant else "another's"


async def _import_number(context: ProvisioningContext, actor: Actor, account_number: AccountNumber) -> str:
    """Why not, or nothing."""
    try:
        label = msgspec.convert(account_number.name.replace("\0", "")[:200], numbers.Label)
        await numbers.create_number(context.database, actor, NewNumber(account_number.number, label))
    except Conflict as error:
        return str(error)
    return ""


def _skip_reason(number: str, imported_numbers: set[str], account_sid: str) -> str:
    return f"{number} is here already." if number in imported_numbers else missing_message(number, account_sid)
