"""What Twilio has, compared with what is wanted: number by number, for whoever asks.

A difference that was not known yet is kept and told to the tenant's watchers. Nothing is changed at Twilio here: that
is done when somebody asks for it.
"""

import asyncio
from contextlib import aclosing

import msgspec

from vocelio.gateway.crypto.encryption import DecryptionError
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.provisioning import queue, views
from vocelio.gateway.store.provisioning.queue import ProvisioningState, Webhooks
from vocelio.gateway.store.provisioning.views import ProvisioningView
from vocelio.gateway.twilio.credentials import Credential
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, ProvisioningContext
from vocelio.gateway.twilio.provisioning.reconcile import masked, missing_message, overridden_message
from vocelio.gateway.twilio.rest_client import AccountNumber, TwilioAccountClient

LIST_TIMEOUT_SECONDS = 20.0  # of listing an account's numbers, while somebody waits
DRIFT_MESSAGE = "At Twilio the number is set to something else than we have set: "


class WebhookDifference(msgspec.Struct, frozen=True):
    """A field of the webhooks that is not as it should be."""

    field: str
    wanted: str
    found: str


class NumberProvisioning(msgspec.Struct, frozen=True, kw_only=True):
    """A number at Twilio. ``state`` is of what was done last; ``problem`` says what is wrong, and what to do about it.

    ``flow`` is null of a number that leads to none: then ``wanted`` is what was there before it led to one, until that
    is put back, and null after that. ``found`` is null when the account does not have the number, or could not be
    asked. ``since`` is when it was set last, ``next`` when it is tried again (microseconds UTC).
    """

    number: str
    flow: str | None
    label: str
    state: ProvisioningState | None
    problem: str = ""
    wanted: Webhooks | None = None
    found: Webhooks | None = None
    difference: list[WebhookDifference] = []
    since: int | None = None
    attempts: int = 0
    next: int | None = None


class NumberProvisioningPage(Page[NumberProvisioning], frozen=True, kw_only=True):
    """A page of a tenant's numbers. ``problem`` is why the ``account`` could not be asked, if so."""

    account: str
    own: bool
    managed: bool
    problem: str = ""


async def compare(context: ProvisioningContext, tenant: str, limit: int, cursor: str) -> NumberProvisioningPage:
    """A page of a tenant's numbers, compared. Raises Invalid, StoreUnavailable, TooMany."""
    page = await views.list_provisioning(context.database, tenant, limit, cursor)
    credential = await _tenant_credential(context, tenant)
    problem, found = "", dict[str, AccountNumber]()
    if isinstance(credential, str):
        problem, credential = credential, Credential("", "", tenant_owned=True)
    elif not credential.has_rest_api:
        problem = NO_ACCOUNT_MESSAGE
    else:
        try:
            found = await _find_numbers(context, credential, {line.number for line in page.items})
        except TwilioError as error:
            problem = str(error)
    compared = [
        await _compare_number(context, line, found.get(line.number), credential.account_sid if not problem else "")
        for line in page.items
    ]
    own, account = credential.tenant_owned, credential.account_sid
    return NumberProvisioningPage(
        compared, page.next, account=account, own=own, managed=credential.has_rest_api, problem=problem
    )


async def list_needing_repair(context: ProvisioningContext, tenant: str) -> list[str]:
    """The numbers of a tenant's that are not as they should be. Raises TwilioError, and as ``check`` does."""
    wanting, cursor = list[str](), ""
    while True:
        page = await compare(context, tenant, PAGE_SIZE, cursor)
        if page.problem and page.managed:
            raise TwilioError(page.problem)
        wanting += [one.number for one in page.items if one.state != "registered" and one.wanted]
        cursor = page.next
        if not cursor:
            return wanting


PAGE_SIZE = 1_000


async def _tenant_credential(context: ProvisioningContext, tenant: str) -> Credential | str:
    """The tenant's, or why it cannot be used."""
    try:
        return await context.credentials.for_tenant(tenant)
    except DecryptionError as error:
        return str(error)


async def _find_numbers(
    context: ProvisioningContext, credential: Credential, numbers: set[str]
) -> dict[str, AccountNumber]:
    """Those of the numbers that the account has."""
    async with context.request_slot():
        return {
            one.number: one
            for one in await list_numbers(context.account_client(credential), numbers)
            if one.number in numbers
        }


async def list_numbers(account: TwilioAccountClient, until_found: set[str] | None = None) -> list[AccountNumber]:
    """An account's numbers: all, or until each that is wanted is among them. Raises TwilioError, in bounded time."""
    found, missed = list[AccountNumber](), set(until_found) if until_found is not None else None
    try:
        async with asyncio.timeout(LIST_TIMEOUT_SECONDS), aclosing(account.iter_numbers()) as numbers:
            async for one in numbers:
                found.append(one)
                if missed is not None:
                    missed.discard(one.number)
                    if not missed:
                        break
    except TimeoutError:
        raise TwilioError("Twilio's API takes too long to list the account's numbers.") from None
    return found


async def _compare_number(
    context: ProvisioningContext, number_view: ProvisioningView, actual: AccountNumber | None, account_sid: str
) -> NumberProvisioning:
    """``account`` is the one that was asked, empty when none was."""
    kept = number_view.provisioning
    if kept is None:
        wanted, state, problem = (context.webhooks if number_view.flow else None), None, ""
    else:
        wanted, state, problem = (context.webhooks if kept.desired else kept.previous), kept.state, kept.error
    difference = _webhook_differences(wanted, actual.webhooks) if wanted and actual else []
    if account_sid and kept and kept.desired and state in ("registered", "drifted"):
        problem = _describe_drift(number_view.number, actual, difference, account_sid)
        state = "drifted" if problem else "registered"
        if await queue.record_observation(context.database, kept, state, problem, context.wall()) and problem:
            context.publish("number.drifted", kept.tenant, number=number_view.number, problem=problem)
    return NumberProvisioning(
        number=number_view.number,
        flow=number_view.flow,
        label=number_view.label,
        state=state,
        problem=problem,
        wanted=masked(wanted) if wanted else None,
        found=masked(actual.webhooks) if actual else None,
        difference=difference,
        since=kept.verified_at if kept else None,
        attempts=kept.failed_attempts if kept else 0,
        next=kept.due_at if kept else None,
    )


def _webhook_differences(desired: Webhooks, actual: Webhooks) -> list[WebhookDifference]:
    fields = zip(Webhooks.__struct_fields__, *map(msgspec.structs.astuple, (desired, actual)), strict=True)
    seen = zip(*map(msgspec.structs.astuple, (masked(desired), masked(actual))), strict=True)
    return [
        WebhookDifference(name, *both) for (name, one, other), both in zip(fields, seen, strict=True) if one != other
    ]


def _describe_drift(
    number: str, actual: AccountNumber | None, differences: list[WebhookDifference], account_sid: str
) -> str:
    """What is wrong with a number that was set once; empty when nothing is."""
    if actual is None:
        return missing_message(number, account_sid)
    if actual.override:
        return overridden_message(actual)
    return DRIFT_MESSAGE + ", ".join(one.field for one in differences) + "." if differences else ""
