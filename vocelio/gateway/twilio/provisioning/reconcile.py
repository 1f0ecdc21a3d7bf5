"""One registration, carried out: from what is wanted and what Twilio has to what has become of it.

Everything is looked at first, then kept, then set by one request. So whoever dies in between leaves the number as it
was or as it is to be, and what was there before is never forgotten; whoever does it again finds it so.
"""

import msgspec

from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.provisioning.queue import ProvisioningRow, ProvisioningState, Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_ACCOUNT_MESSAGE, ProvisioningContext
from vocelio.gateway.twilio.rest_client import AccountNumber


class ProvisioningResult(msgspec.Struct, frozen=True):
    """What has become of it; ``repaired`` is whether it was ours before and had been changed by somebody else."""

    state: ProvisioningState
    error: str = ""
    repaired: bool = False


class Restored(msgspec.Struct, frozen=True):
    """It is as it was before us."""


async def reconcile(
    context: ProvisioningContext, task: ProvisioningRow, lease_until: int
) -> ProvisioningResult | Restored | None:
    """Do it, with the lease prolonged until then; None when it is not ours to do any more. Raises TwilioError.

    Also raises StoreUnavailable and VaultError.
    """
    return await (_apply if task.desired else _restore)(context, task, lease_until)


async def _apply(context: ProvisioningContext, task: ProvisioningRow, lease_until: int) -> ProvisioningResult | None:
    credential = await context.credentials.for_tenant(task.tenant)
    if not credential.has_rest_api:
        return ProvisioningResult("not_managed", NO_ACCOUNT_MESSAGE)
    account = context.account_client(credential)
    found = await account.find_number(task.number)
    if found is None:
        return ProvisioningResult("failed", missing_message(task.number, account.sid))
    if found.override:
        return ProvisioningResult("overridden", overridden_message(found))
    known = task.previous is not None and task.account_sid == account.sid
    former = task.previous if task.previous is not None and known else found.webhooks
    if not await queue.save_previous(context.database, task, account.sid, former, context.webhooks, lease_until):
        return None
    if found.webhooks == context.webhooks:
        return ProvisioningResult("registered")
    set_to = (await account.set_webhooks(found.sid, context.webhooks)).webhooks
    if set_to != context.webhooks:
        return ProvisioningResult("failed", f"Twilio has set {task.number} to something else than was asked.")
    return ProvisioningResult("registered", repaired=known and task.verified_at is not None)


async def _restore(
    context: ProvisioningContext, task: ProvisioningRow, lease_until: int
) -> ProvisioningResult | Restored | None:
    """What somebody else has set meanwhile is theirs, and stays; a number that has left the account is nobody's."""
    if task.previous is None or task.applied is None:
        return Restored()
    credential = await context.credentials.for_account(task.tenant, task.account_sid)
    if credential is None:
        problem = (
            f"{task.account_sid} is no account of this gateway any more, so {task.number} cannot be set back there."
        )
        return ProvisioningResult("failed", problem)
    account = context.account_client(credential)
    found = await account.find_number(task.number)
    if found is None or found.webhooks.voice_url != task.applied.voice_url:
        return Restored()
    if not await queue.save_previous(context.database, task, account.sid, task.previous, task.applied, lease_until):
        return None
    await account.set_webhooks(found.sid, task.previous)
    return Restored()


def missing_message(number: str, account_sid: str) -> str:
    """What to tell of a number that is not there."""
    return (
        f"{number} is not in the Twilio account {account_sid}. "
        "Buy it there or move it there, or name the account that has it."
    )


def overridden_message(account_number: AccountNumber) -> str:
    """What to tell of a number whose webhooks are not looked at."""
    kind = "the SIP trunk" if account_number.trunk else "the TwiML application"
    return (
        f"At Twilio {kind} {account_number.override} answers {account_number.number} in place of its webhooks. "
        "Take it off the number in Twilio's console, and try again."
    )


def masked(webhooks: Webhooks) -> Webhooks:
    """As they may be seen: a password within a URL is not."""
    fields = msgspec.structs.asdict(webhooks)
    return Webhooks(**{name: _mask_password(value) for name, value in fields.items()})


def _mask_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{scheme}{mark}{name}{colon}{'***' if colon else ''}{at}{host}{slash}{path}" if at else url
