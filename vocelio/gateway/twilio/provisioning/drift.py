"""Drift detection: compare the webhooks of numbers at Twilio with the desired ones, when the API is asked for it.

Drift that is seen for the first time is recorded and published to the tenant's monitors. Nothing is changed at Twilio
here: repairs are requested explicitly.
"""

import asyncio
from contextlib import aclosing

import msgspec

from vocelio.gateway.clock import Instant
from vocelio.gateway.crypto import DecryptionError
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.store import number_provisioning
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.number_provisioning import ProvisioningState, ProvisioningView, Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, Credential, ProvisioningContext
from vocelio.gateway.twilio.provisioning.reconcile import mask_passwords, missing_message, overridden_message
from vocelio.gateway.twilio.rest_client import AccountNumber, TwilioAccountClient

LIST_TIMEOUT_SECONDS = 20.0  # to list an account's numbers while an API request waits
PAGE_SIZE = 1_000
DRIFT_MESSAGE = "At Twilio these webhooks differ from the desired ones: "


class WebhookDifference(msgspec.Struct, frozen=True):
    """A webhook field that differs from the desired value."""

    field: str
    desired: str
    actual: str


class NumberProvisioning(msgspec.Struct, frozen=True, kw_only=True):
    """A number and its webhooks at Twilio. ``error`` says what is wrong with it and how to fix that.

    ``flow`` is null for an unassigned number: ``desired`` is then the webhooks before its assignment until they are
    restored, and null afterwards. ``actual`` is null if the account does not have the number or could not be queried.
    ``verified_at`` is when the webhooks were last known to be set, ``next_attempt_at`` when provisioning is retried.
    """

    number: str
    flow: str | None
    label: str
    state: ProvisioningState | None
    error: str = ""
    desired: Webhooks | None = None
    actual: Webhooks | None = None
    differences: list[WebhookDifference] = []
    verified_at: Instant | None = None
    failed_attempts: int = 0
    next_attempt_at: Instant | None = None


class NumberProvisioningPage(Page[NumberProvisioning], frozen=True, kw_only=True):
    """A page of a tenant's numbers. ``error`` is why the Twilio account could not be queried, if so."""

    account_sid: str
    tenant_owned: bool
    managed: bool
    error: str = ""


async def compare(context: ProvisioningContext, tenant: str, limit: int, cursor: str) -> NumberProvisioningPage:
    """Compare a page of a tenant's numbers. Raises InvalidInput, DatabaseUnavailable, RateLimited."""
    page = await number_provisioning.list_provisioning(context.database, tenant, limit, cursor)
    credential = await _tenant_credential(context, tenant)
    error_text, account_numbers = "", dict[str, AccountNumber]()
    if isinstance(credential, str):
        error_text, credential = credential, Credential("", "", tenant_owned=True)
    elif not credential.has_rest_api:
        error_text = NO_ACCOUNT_MESSAGE
    else:
        try:
            account_numbers = await _find_numbers(context, credential, {view.number for view in page.items})
        except TwilioError as error:
            error_text = str(error)
    queried_account_sid = credential.account_sid if not error_text else ""
    compared = [
        await _compare_number(context, view, account_numbers.get(view.number), queried_account_sid)
        for view in page.items
    ]
    return NumberProvisioningPage(
        compared,
        page.next_cursor,
        account_sid=credential.account_sid,
        tenant_owned=credential.tenant_owned,
        managed=credential.has_rest_api,
        error=error_text,
    )


async def list_needing_repair(context: ProvisioningContext, tenant: str) -> list[str]:
    """List a tenant's numbers that differ from their desired state. Raises TwilioError, and as ``compare`` does."""
    needing_repair, cursor = list[str](), ""
    while True:
        page = await compare(context, tenant, PAGE_SIZE, cursor)
        if page.error and page.managed:
            raise TwilioError(page.error)
        needing_repair += [each.number for each in page.items if each.state != "provisioned" and each.desired]
        cursor = page.next_cursor
        if not cursor:
            return needing_repair


async def _tenant_credential(context: ProvisioningContext, tenant: str) -> Credential | str:
    """Return the tenant's credential, or why it cannot be used."""
    try:
        return await context.credentials.for_tenant(tenant)
    except DecryptionError as error:
        return str(error)


async def _find_numbers(
    context: ProvisioningContext, credential: Credential, numbers: set[str]
) -> dict[str, AccountNumber]:
    """Return those of the numbers that the account has."""
    async with context.request_slot():
        listed = await list_numbers(context.account_client(credential), numbers)
        return {each.number: each for each in listed if each.number in numbers}


async def list_numbers(account: TwilioAccountClient, until_found: set[str] | None = None) -> list[AccountNumber]:
    """List an account's numbers: all, or until all of ``until_found`` are listed. Raises TwilioError."""
    listed, missing = list[AccountNumber](), set(until_found) if until_found is not None else None
    try:
        async with asyncio.timeout(LIST_TIMEOUT_SECONDS), aclosing(account.iter_numbers()) as numbers:
            async for account_number in numbers:
                listed.append(account_number)
                if missing is not None:
                    missing.discard(account_number.number)
                    if not missing:
                        break
    except TimeoutError:
        raise TwilioError("Twilio's API takes too long to list the account's numbers.") from None
    return listed


async def _compare_number(
    context: ProvisioningContext, view: ProvisioningView, actual: AccountNumber | None, account_sid: str
) -> NumberProvisioning:
    """Compare a number with the account that was queried; ``account_sid`` is empty if none was."""
    row = view.provisioning
    if row is None:
        desired, state, error = (context.webhooks if view.flow else None), None, ""
    else:
        desired, state, error = (context.webhooks if row.desired else row.previous), row.state, row.error
    differences = _webhook_differences(desired, actual.webhooks) if desired and actual else []
    if account_sid and row and row.desired and state in ("provisioned", "drifted"):
        error = _describe_drift(view.number, actual, differences, account_sid)
        state = "drifted" if error else "provisioned"
        if await number_provisioning.record_observation(context.database, row, state, error, context.wall()) and error:
            context.publish("number.drifted", row.tenant, number=view.number, error=error)
    return NumberProvisioning(
        number=view.number,
        flow=view.flow,
        label=view.label,
        state=state,
        error=error,
        desired=mask_passwords(desired) if desired else None,
        actual=mask_passwords(actual.webhooks) if actual else None,
        differences=differences,
        verified_at=_to_instant(row.verified_at) if row else None,
        failed_attempts=row.failed_attempts if row else 0,
        next_attempt_at=_to_instant(row.due_at) if row else None,
    )


def _to_instant(microseconds: int | None) -> Instant | None:
    return None if microseconds is None else Instant(microseconds)


def _webhook_differences(desired: Webhooks, actual: Webhooks) -> list[WebhookDifference]:
    shown_desired, shown_actual = mask_passwords(desired), mask_passwords(actual)
    return [
        WebhookDifference(field, getattr(shown_desired, field), getattr(shown_actual, field))
        for field in Webhooks.__struct_fields__
        if getattr(desired, field) != getattr(actual, field)
    ]


def _describe_drift(
    number: str, actual: AccountNumber | None, differences: list[WebhookDifference], account_sid: str
) -> str:
    """Describe what is wrong with a number that was provisioned; empty if nothing is."""
    if actual is None:
        return missing_message(number, account_sid)
    if actual.override_sid:
        return overridden_message(actual)
    return DRIFT_MESSAGE + ", ".join(each.field for each in differences) + "." if differences else ""
