"""Ownership of accounts and numbers: decided by Twilio at the moment of use, never by what a tenant says.

An account is a tenant's own only if Twilio accepts its auth token. A number can be claimed, and assigned, only under an
account that has it; numbers of the platform's account are claimed with a platform key. While Twilio cannot be asked
nothing is changed: TwilioUnavailable. Without a REST API (the simulator's account) there is nobody to ask.
"""

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.errors import Conflict, Forbidden, InvalidInput, TwilioError
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.numbers import NumberClaim
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccount
from vocelio.gateway.twilio.provisioning.context import Credential, ProvisioningContext
from vocelio.gateway.twilio.provisioning.drift import list_numbers
from vocelio.gateway.twilio.provisioning.reconcile import missing_message, revoked_message

REJECTED_STATUSES = (401, 403, 404)  # of Twilio: another token, or no such account
NOT_OWNED_MESSAGE = (
    "Numbers of the platform's Twilio account are assigned to tenants with a platform key. "
    "A tenant with its own account (PUT /v1/tenant/twilio) adds its own numbers."
)


async def verify_account(context: ProvisioningContext, account: TwilioAccount) -> list[str]:
    """Prove to Twilio that the token is the account's, and return the account's numbers.

    Raises InvalidInput, TwilioError, RateLimited.
    """
    client = context.account_client(Credential(account.account_sid, account.auth_token, tenant_owned=True))
    async with context.request_slot():
        try:
            status = await client.get_status()
        except TwilioError as error:
            if error.http_status in REJECTED_STATUSES:
                raise _rejected("auth_token", "Twilio does not accept this account SID with this auth token") from error
            raise
        if status != "active":
            raise _rejected("account_sid", f"the account is {status[:20]} at Twilio")
        if context.credentials.is_platform(account.account_sid):  # told only to whoever has its token
            raise _rejected("account_sid", "the platform's account cannot be a tenant's own")
        return [each.number for each in await list_numbers(client)]


async def claim_number(context: ProvisioningContext, actor: Actor, number: str) -> NumberClaim:
    """Return the claim under which the actor may create a number. Raises Forbidden, Conflict, TwilioError, RateLimited.

    The tenant's own account comes first, then for a platform key the platform's.
    """
    own, platform = await context.credentials.for_tenant(actor.tenant), context.credentials.platform
    if own.tenant_owned and await _has_number(context, own, number):
        return NumberClaim(own.account_sid, proven=True)
    if actor.role == "platform":
        if not platform.has_rest_api:
            return NumberClaim()
        if await _has_number(context, platform, number):
            return NumberClaim(proven=True)
    elif platform.has_rest_api and not own.tenant_owned:
        raise Forbidden(NOT_OWNED_MESSAGE)
    elif not own.tenant_owned:
        return NumberClaim(SIMULATOR_ACCOUNT_SID)
    raise Conflict(missing_message(number, own.account_sid))


async def check_assignable(context: ProvisioningContext, tenant: str, number: str) -> None:
    """Check that the account under which a number is claimed still has it. Raises NotFound, Conflict, TwilioError."""
    account_sid = await numbers.get_claimed_account(context.database, tenant, number)
    credential = await context.credentials.for_claim(tenant, account_sid)
    if credential is None:
        raise Conflict(revoked_message(number, account_sid or ""))
    if credential.has_rest_api and not await _has_number(context, credential, number):
        raise Conflict(missing_message(number, credential.account_sid))


async def _has_number(context: ProvisioningContext, credential: Credential, number: str) -> bool:
    async with context.request_slot():
        return await context.account_client(credential).find_number(number) is not None


def _rejected(path: str, message: str) -> InvalidInput:
    return InvalidInput("The Twilio account cannot be used.", [Diagnostic(path, "twilio-account", message)])
