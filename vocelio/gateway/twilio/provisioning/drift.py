"""Drift detection: compare the webhooks of numbers at Twilio with the desired ones, when the API is asked for it.

Drift that is seen for the first time is recorded and published to the tenant's monitors. Nothing is changed at Twilio
here: repairs are requested explicitly.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from vocelio.gateway.clock import Instant
from vocelio.gateway.crypto import DecryptionError
from vocelio.gateway.errors import TwilioError, TwilioUnavailable
from vocelio.gateway.store import number_provisioning
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.number_provisioning import ProvisioningState, ProvisioningView, Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, Credential, ProvisioningContext
from vocelio.gateway.twilio.provisioning.reconcile import (
    mask_passwords,
    missing_message,
    overridden_message,
    revoked_message,
)
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


class _QueriedAccount(NamedTuple):
    """The numbers of an account; without ``account_sid`` it could not be queried, and ``error`` says why.

    ``is_revoked``: it is no account of the tenant any more.
    """

    account_sid: str = ""
    numbers: Mapping[str, AccountNumber] = MappingProxyType({})
    error: str = ""
    is_revoked: bool = False


async def compare(context: ProvisioningContext, tenant: str, limit: int, cursor: str) -> NumberProvisioningPage:
    """Compare a page of a tenant's numbers, each with the account under which it is claimed.

    Raises InvalidInput, DatabaseUnavailable, RateLimited.
    """
    page = await number_provisioning.list_provisioning(context.database, tenant, limit, cursor)
    credential = await _tenant_credential(context, tenant)
    if isinstance(credential, str):
        serving, credential = _QueriedAccount(error=credential), Credential("", "", tenant_owned=True)
    else:
        serving = await _query_account(context, credential, _numbers_of(page, credential.claimed_account))
    queried = {credential.claimed_account: serving}
    for account_sid in dict.fromkeys(view.account_sid for view in page.items):
        if account_sid not in queried:
            queried[account_sid] = await _query_claimed(context, tenant, page, account_sid)
    compared = [await _compare_number(context, view, queried[view.account_sid]) for view in page.items]
    return NumberProvisioningPage(
        compared,
        page.next_cursor,
        account_sid=credential.account_sid,
        tenant_owned=credential.tenant_owned,
        managed=credential.has_rest_api,
        error=serving.error,
    )


def _numbers_of(page: Page[ProvisioningView], account_sid: str | None) -> set[str]:
    return {view.number for view in page.items if view.account_sid == account_sid}


async def _query_claimed(
    context: ProvisioningContext, tenant: str, page: Page[ProvisioningView], account_sid: str | None
) -> _QueriedAccount:
    """Query an account other than the one that serves the tenant."""
    try:
        credential = (
            context.credentials.platform
            if account_sid is None
            else await context.credentials.for_account(tenant, account_sid)
        )
    except DecryptionError as error:
        return _QueriedAccount(error=str(error))
    if credential is None:
        return _QueriedAccount(is_revoked=True)
    return await _query_account(context, credential, _numbers_of(page, account_sid))


async def _query_account(context: ProvisioningContext, credential: Credential, numbers: set[str]) -> _QueriedAccount:
    """Find those of the numbers that the account has."""
    if not credential.has_rest_api:
        return _QueriedAccount(error=NO_ACCOUNT_MESSAGE)
    try:
        async with context.request_slot():
            listed = await list_numbers(context.account_client(credential), numbers)
    except TwilioError as error:
        return _QueriedAccount(error=str(error))
    return _QueriedAccount(credential.account_sid, {each.number: each for each in listed if each.number in numbers})


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
        raise TwilioUnavailable("Twilio's API takes too long to list the account's numbers.") from None
    return listed


async def _compare_number(
    context: ProvisioningContext, view: ProvisioningView, account: _QueriedAccount
) -> NumberProvisioning:
    """Compare a number with the account under which it is claimed, if that could be queried."""
    row, actual, account_sid = view.provisioning, account.numbers.get(view.number), account.account_sid
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
    if account.is_revoked:
        state, error = "failed", revoked_message(view.number, view.account_sid or "")
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
