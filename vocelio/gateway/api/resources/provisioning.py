"""/v1/registrations: the numbers as Twilio has them; and /v1/twilio/numbers: what the account has."""

import msgspec

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.crypto.encryption import DecryptionError
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.provisioning import views
from vocelio.gateway.twilio.provisioning import account_numbers as number_import
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning.account_numbers import AccountNumberInfo, ImportRequest, ImportResult
from vocelio.gateway.twilio.provisioning.drift import NumberProvisioningPage
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner


class ProvisioningQueued(msgspec.Struct, frozen=True):
    """The numbers that are set anew in the background. What comes of it is at /v1/registrations."""

    numbers: list[str]


async def list_provisioning(context: RequestContext, *, query: PageQuery) -> NumberProvisioningPage:
    """The tenant's numbers: what each is to be set to at Twilio, what it is set to there, and the difference."""
    return await drift.compare(_require_provisioner(context).context, context.tenant, query.limit, query.cursor)


async def repair_provisioning(context: RequestContext) -> ApiResponse[ProvisioningQueued]:
    """Set all numbers anew that are not as they should be at Twilio."""
    registrar = _require_provisioner(context)
    wanting = await drift.list_needing_repair(registrar.context, context.tenant)
    asked = await views.retry_all(context.database, context.actor, wanting)
    registrar.notify()
    return ApiResponse(ProvisioningQueued(asked), status=202)


async def retry_provisioning(context: RequestContext, *, number: PhoneNumber) -> ApiResponse[ProvisioningQueued]:
    """Set one number anew, now."""
    registrar = _require_provisioner(context)
    await views.retry(context.database, context.actor, number)
    registrar.notify()
    return ApiResponse(ProvisioningQueued([number]), status=202)


async def list_account_numbers(context: RequestContext) -> list[AccountNumberInfo]:
    """What numbers the tenant's Twilio account has, and whether they are here.

    Of the platform's account a platform key sees all numbers, a tenant's key its own.
    """
    try:
        return await number_import.list_account_numbers(_require_provisioner(context).context, context.actor)
    except DecryptionError as error:
        raise Conflict(str(error)) from error


async def import_account_numbers(context: RequestContext, *, body: ImportRequest) -> ImportResult:
    """Make numbers that the Twilio account has the tenant's. They lead nowhere until they are assigned."""
    try:
        return await number_import.import_numbers(_require_provisioner(context).context, context.actor, body)
    except DecryptionError as error:
        raise Conflict(str(error)) from error


def _require_provisioner(context: RequestContext) -> NumberProvisioner:
    if context.provisioner is None:
        raise Conflict("This gateway sets nothing at Twilio.")
    return context.provisioner
