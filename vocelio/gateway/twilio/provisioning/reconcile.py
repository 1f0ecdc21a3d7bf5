"""Reconcile one number: compare Twilio with the desired state, and set or restore its webhooks.

The number is read first, its webhooks are saved, and then all are changed by one request. A process that dies in
between leaves the number in its previous or its desired state, the previous webhooks are never lost, and repeating the
task is safe.
"""

import msgspec

from vocelio.gateway.errors import NotFound
from vocelio.gateway.store import number_provisioning, numbers
from vocelio.gateway.store.number_provisioning import ProvisioningRow, ProvisioningState, Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, ProvisioningContext
from vocelio.gateway.twilio.rest_client import AccountNumber, require_https


class ProvisioningResult(msgspec.Struct, frozen=True):
    """The resulting state; ``repaired`` is whether webhooks that had been set were changed elsewhere and set again."""

    state: ProvisioningState
    error: str = ""
    repaired: bool = False


class Restored(msgspec.Struct, frozen=True):
    """The number has its previous webhooks again, or is no longer the gateway's to change."""


async def reconcile(
    context: ProvisioningContext, task: ProvisioningRow, lease_until: int
) -> ProvisioningResult | Restored | None:
    """Set or restore a number's webhooks; the lease is extended to ``lease_until``.

    Returns None if the lease was lost or the desired state has changed. Raises TwilioError, DatabaseUnavailable,
    DecryptionError.
    """
    return await (_apply if task.desired else _restore)(context, task, lease_until)


async def _apply(context: ProvisioningContext, task: ProvisioningRow, lease_until: int) -> ProvisioningResult | None:
    try:
        account_sid = await numbers.get_claimed_account(context.database, task.tenant, task.number)
    except NotFound:  # deleted meanwhile, and so is its task
        return None
    credential = await context.credentials.for_claim(task.tenant, account_sid)
    if credential is None:
        return ProvisioningResult("failed", revoked_message(task.number, account_sid or ""))
    if not credential.has_rest_api:
        return ProvisioningResult("not_managed", NO_ACCOUNT_MESSAGE)
    require_https(context.webhooks.voice_url)
    account = context.account_client(credential)
    account_number = await account.find_number(task.number)
    if account_number is None:
        return ProvisioningResult("failed", missing_message(task.number, account.sid))
    if account_number.override_sid:
        return ProvisioningResult("overridden", overridden_message(account_number))
    was_applied = task.previous is not None and task.account_sid == account.sid
    previous = task.previous if task.previous is not None and was_applied else account_number.webhooks
    if not await number_provisioning.save_previous(
        context.database, task, account.sid, previous, context.webhooks, lease_until
    ):
        return None
    if account_number.webhooks == context.webhooks:
        return ProvisioningResult("provisioned")
    updated = await account.set_webhooks(account_number.sid, context.webhooks)
    if updated.webhooks != context.webhooks:
        return ProvisioningResult("failed", f"Twilio set webhooks of {task.number} that differ from those requested.")
    return ProvisioningResult("provisioned", repaired=was_applied and task.verified_at is not None)


async def _restore(
    context: ProvisioningContext, task: ProvisioningRow, lease_until: int
) -> ProvisioningResult | Restored | None:
    """Restore the previous webhooks, unless the voice URL was changed elsewhere or the number has left the account."""
    if task.previous is None or task.applied is None:
        return Restored()
    credential = await context.credentials.for_account(task.tenant, task.account_sid)
    if credential is None:
        error = f"{task.account_sid} is no longer an account of this gateway: {task.number} cannot be restored there."
        return ProvisioningResult("failed", error)
    account = context.account_client(credential)
    account_number = await account.find_number(task.number)
    if account_number is None or account_number.webhooks.voice_url != task.applied.voice_url:
        return Restored()
    if not await number_provisioning.save_previous(
        context.database, task, account.sid, task.previous, task.applied, lease_until
    ):
        return None
    await account.restore_webhooks(account_number.sid, task.previous)
    return Restored()


def missing_message(number: str, account_sid: str) -> str:
    """Describe a number that the account does not have."""
    return (
        f"{number} is not in the Twilio account {account_sid}. "
        "Buy it there, move it there, or configure the account that has it."
    )


def revoked_message(number: str, account_sid: str) -> str:
    """Describe a number that is claimed under an account which is not the tenant's any more."""
    return (
        f"{number} is claimed under the Twilio account {account_sid}, which is not an account of this tenant: "
        "its calls lead nowhere. Set that account again, or add the number under the account that has it now."
    )


def overridden_message(account_number: AccountNumber) -> str:
    """Describe a number whose webhooks Twilio ignores."""
    kind = "the SIP trunk" if account_number.trunk_sid else "the TwiML application"
    return (
        f"At Twilio {kind} {account_number.override_sid} answers {account_number.number} instead of its webhooks. "
        "Remove it from the number in Twilio's console, and try again."
    )


def mask_passwords(webhooks: Webhooks) -> Webhooks:
    """Mask passwords in the URLs."""
    fields = msgspec.structs.asdict(webhooks)
    return Webhooks(**{name: _mask_password(value) for name, value in fields.items()})


def _mask_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user_info, at, host = authority.rpartition("@")
    user, colon, _ = user_info.partition(":")
    return f"{scheme}{separator}{user}{colon}{'***' if colon else ''}{at}{host}{slash}{path}" if at else url
