"""/v1/numbers, /v1/number-provisioning and /v1/twilio/numbers: phone numbers, here and at Twilio."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.crypto import DecryptionError
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store import number_provisioning, numbers
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.numbers import (
    UNPROVEN_PLATFORM_CLAIM,
    AssignmentRecord,
    NewAssignment,
    NewNumber,
    Number,
    NumberUpdate,
)
from vocelio.gateway.twilio.provisioning import account_numbers, drift, ownership
from vocelio.gateway.twilio.provisioning.account_numbers import AccountNumberInfo, ImportRequest, ImportResult
from vocelio.gateway.twilio.provisioning.drift import NumberProvisioningPage
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner


class ProvisioningQueued(msgspec.Struct, frozen=True):
    """The numbers that are provisioned in the background. /v1/number-provisioning has the result."""

    numbers: list[str]


async def list_numbers(context: RequestContext, *, query: PageQuery) -> Page[Number]:
    """List the tenant's phone numbers in ascending order."""
    return await numbers.list_numbers(context.database, context.tenant, query.limit, query.cursor)


async def create_number(context: RequestContext, *, body: NewNumber) -> ApiResponse[Number]:
    """Create a number whose calls Twilio sends here. No flow answers it until it is assigned.

    Twilio must confirm that the tenant's account has it. A number of the platform's Twilio account can only be created
    with a platform key.
    """
    claim = UNPROVEN_PLATFORM_CLAIM
    if context.provisioner is not None:
        with _decryption_conflicts():
            claim = await ownership.claim_number(context.provisioner.context, context.actor, body.number)
    made = await numbers.create_number(context.database, context.actor, body, claim)
    return ApiResponse(made, status=201, location=f"/v1/numbers/{made.number}")


async def get_number(context: RequestContext, *, number: PhoneNumber) -> Number:
    """Get a number and the flow that answers it."""
    return await numbers.get_number(context.database, context.tenant, number)


async def update_number(context: RequestContext, *, number: PhoneNumber, body: NumberUpdate) -> Number:
    """Change a number's label or fallback number; null removes the fallback number."""
    return await numbers.update_number(context.database, context.actor, number, body)


async def delete_number(context: RequestContext, *, number: PhoneNumber) -> None:
    """Delete a number that is not assigned to a flow."""
    await numbers.delete_number(context.database, context.actor, number)


async def assign_number(context: RequestContext, *, number: PhoneNumber, body: NewAssignment) -> Number:
    """Assign a number to a flow, from the next call on. Its webhooks at Twilio are set in the background.

    Twilio must confirm that the account under which the number was created still has it.
    """
    if context.provisioner is not None:
        with _decryption_conflicts():
            await ownership.check_assignable(context.provisioner.context, context.tenant, number)
    assigned = await numbers.assign_number(context.database, context.actor, number, body.flow)
    return _notify_provisioner(context, assigned)


async def unassign_number(context: RequestContext, *, number: PhoneNumber) -> Number:
    """Remove a number's assignment. Its previous webhooks at Twilio are restored in the background."""
    return _notify_provisioner(context, await numbers.unassign_number(context.database, context.actor, number))


async def list_assignments(context: RequestContext, *, number: PhoneNumber, query: PageQuery) -> Page[AssignmentRecord]:
    """List a number's assignments, newest first, with who made them and when."""
    return await numbers.list_assignments(context.database, context.tenant, number, query.limit, query.cursor)


async def list_provisioning(context: RequestContext, *, query: PageQuery) -> NumberProvisioningPage:
    """Compare the tenant's numbers with Twilio: desired and actual webhooks, and the differences."""
    return await drift.compare(_require_provisioner(context).context, context.tenant, query.limit, query.cursor)


async def repair_provisioning(context: RequestContext) -> ApiResponse[ProvisioningQueued]:
    """Provision all numbers again whose webhooks at Twilio differ from the desired ones."""
    provisioner = _require_provisioner(context)
    differing = await drift.list_needing_repair(provisioner.context, context.tenant)
    queued = await number_provisioning.retry_all(context.database, context.actor, differing)
    provisioner.notify()
    return ApiResponse(ProvisioningQueued(queued), status=202)


async def retry_provisioning(context: RequestContext, *, number: PhoneNumber) -> ApiResponse[ProvisioningQueued]:
    """Provision a number again now."""
    provisioner = _require_provisioner(context)
    await number_provisioning.retry(context.database, context.actor, number)
    provisioner.notify()
    return ApiResponse(ProvisioningQueued([number]), status=202)


async def list_account_numbers(context: RequestContext) -> Page[AccountNumberInfo]:
    """List the numbers of the tenant's Twilio account and whose they are in this gateway, all on one page.

    Of the platform's account, a platform key sees all numbers, a tenant's key only its own.
    """
    with _decryption_conflicts():
        return Page(await account_numbers.list_account_numbers(_require_provisioner(context).context, context.actor))


async def import_account_numbers(context: RequestContext, *, body: ImportRequest) -> ImportResult:
    """Create numbers of the Twilio account for the tenant. No flow answers them until they are assigned."""
    with _decryption_conflicts():
        return await account_numbers.import_numbers(_require_provisioner(context).context, context.actor, body)


@contextmanager
def _decryption_conflicts() -> Iterator[None]:
    """Raise Conflict if the tenant's Twilio auth token cannot be decrypted."""
    try:
        yield
    except DecryptionError as error:
        raise Conflict(str(error)) from error


def _notify_provisioner(context: RequestContext, number: Number) -> Number:
    if context.provisioner is not None:
        context.provisioner.notify()
    return number


def _require_provisioner(context: RequestContext) -> NumberProvisioner:
    if context.provisioner is None:
        raise Conflict("This gateway does not provision numbers at Twilio.")
    return context.provisioner
