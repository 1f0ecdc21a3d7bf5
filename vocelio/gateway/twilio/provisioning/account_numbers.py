"""List the numbers of a Twilio account, and import them into a tenant.

The platform's account holds the numbers of many tenants. Platform keys see all of them, a tenant's keys only its own.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vocelio.gateway.errors import Conflict, InvalidInput
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.number_provisioning import Webhooks
from vocelio.gateway.store.numbers import NewNumber, NumberClaim
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, Credential, ProvisioningContext
from vocelio.gateway.twilio.provisioning.drift import list_numbers
from vocelio.gateway.twilio.provisioning.reconcile import mask_passwords, missing_message
from vocelio.gateway.twilio.rest_client import AccountNumber

MAX_IMPORT_NUMBERS = 1_000  # per request: each is a change with its own audit entry

Ownership = Literal["self", "other", "none"]


class AccountNumberInfo(msgspec.Struct, frozen=True):
    """A number of the account. ``override_sid`` is the application or SIP trunk that answers its calls, if any.

    ``owner`` is the tenant that has claimed the number under this account: `self`, `other` or `none`.
    """

    number: str
    friendly_name: str
    owner: Ownership
    webhooks: Webhooks
    override_sid: str


class ImportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers to import: those listed, or ``all`` that no tenant has."""

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(max_length=MAX_IMPORT_NUMBERS)] = ()
    all: bool = False


class SkippedNumber(msgspec.Struct, frozen=True):
    """A number that was not imported, and why."""

    number: str
    reason: str


class ImportResult(msgspec.Struct, frozen=True):
    """The imported numbers. ``remaining`` is how many are left for another request of the same kind."""

    imported: list[str]
    skipped: list[SkippedNumber]
    remaining: int = 0


async def list_account_numbers(context: ProvisioningContext, actor: Actor) -> list[AccountNumberInfo]:
    """List the account's numbers that the actor may see, in order of the number.

    Raises Conflict, TwilioError, RateLimited, DecryptionError.
    """
    _, owned_numbers = await _load_account_numbers(context, actor)
    return [
        AccountNumberInfo(
            account_number.number,
            account_number.friendly_name,
            owner,
            mask_passwords(account_number.webhooks),
            account_number.override_sid,
        )
        for account_number, owner in sorted(owned_numbers, key=lambda pair: pair[0].number)
    ]


async def import_numbers(context: ProvisioningContext, actor: Actor, request: ImportRequest) -> ImportResult:
    """Import numbers of the account. Raises as ``list_account_numbers`` does, and InvalidInput."""
    if request.all == bool(request.numbers):
        raise InvalidInput("Send either the numbers to import or `all`, not both.")
    credential, owned_numbers = await _load_account_numbers(context, actor)
    free = {account_number.number: account_number for account_number, owner in owned_numbers if owner == "none"}
    taken = {account_number.number for account_number, _ in owned_numbers} - free.keys()
    requested = sorted(free) if request.all else list(dict.fromkeys(request.numbers))
    claim = NumberClaim(credential.claimed_account, proven=True)
    result = ImportResult([], [], max(0, len(requested) - MAX_IMPORT_NUMBERS))
    for number in requested[:MAX_IMPORT_NUMBERS]:
        if number in free:
            reason = await _import_number(context, actor, free[number], claim)
        else:
            reason = _skip_reason(number, taken, credential.account_sid)
        if reason:
            result.skipped.append(SkippedNumber(number, reason))
        else:
            result.imported.append(number)
    return result


async def _load_account_numbers(
    context: ProvisioningContext, actor: Actor
) -> tuple[Credential, list[tuple[AccountNumber, Ownership]]]:
    credential = await context.credentials.for_tenant(actor.tenant)
    if not credential.has_rest_api:
        raise Conflict(NO_ACCOUNT_MESSAGE)
    async with context.request_slot():
        account_numbers = await list_numbers(context.account_client(credential))
    account_sid = credential.claimed_account
    owners = await numbers.find_owners(context.database, account_sid, [each.number for each in account_numbers])
    owned_numbers: list[tuple[AccountNumber, Ownership]] = [
        (each, _ownership(owners.get(each.number), actor.tenant)) for each in account_numbers
    ]
    sees_all = credential.tenant_owned or actor.role == "platform"
    return credential, [pair for pair in owned_numbers if sees_all or pair[1] == "self"]


def _ownership(owner: str | None, tenant: str) -> Ownership:
    if owner is None:
        return "none"
    return "self" if owner == tenant else "other"


async def _import_number(
    context: ProvisioningContext, actor: Actor, account_number: AccountNumber, claim: NumberClaim
) -> str:
    """Import a number; return why it was skipped, or an empty text."""
    try:
        label = msgspec.convert(account_number.friendly_name.replace("\0", "")[:200], numbers.Label)
        await numbers.create_number(context.database, actor, NewNumber(account_number.number, label), claim)
    except Conflict as error:
        return str(error)
    return ""


def _skip_reason(number: str, taken: set[str], account_sid: str) -> str:
    return f"{number} is already in use." if number in taken else missing_message(number, account_sid)
