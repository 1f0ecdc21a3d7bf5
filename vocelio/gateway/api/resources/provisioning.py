"""/v1/registrations: the numbers as Twilio has them; and /v1/twilio/numbers: what the account has."""

import msgspec

from vocelio.gateway.api.framework.operation import Answer, Context, Page
from vocelio.gateway.crypto.encryption import VaultError
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.provisioning import views
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning import import_numbers as number_import
from vocelio.gateway.twilio.provisioning.drift import Registrations
from vocelio.gateway.twilio.provisioning.import_numbers import Imported, Offered, ToImport
from vocelio.gateway.twilio.provisioning.worker import Registrar


class Asked(msgspec.Struct, frozen=True):
    """The numbers that are set anew in the background. What comes of it is at /v1/registrations."""

    numbers: list[str]


async def every(context: Context, *, query: Page) -> Registrations:
    """The tenant's numbers: what each is to be set to at Twilio, what it is set to there, and the difference."""
    return await drift.check(_registrar(context).desk, context.tenant, query.limit, query.cursor)


async def repair(context: Context) -> Answer[Asked]:
    """Set all numbers anew that are not as they should be at Twilio."""
    registrar = _registrar(context)
    wanting = await drift.needing_repair(registrar.desk, context.tenant)
    asked = await views.all_again(context.database, context.actor, wanting)
    registrar.wake()
    return Answer(Asked(asked), status=202)


async def again(context: Context, *, number: PhoneNumber) -> Answer[Asked]:
    """Set one number anew, now."""
    registrar = _registrar(context)
    await views.again(context.database, context.actor, number)
    registrar.wake()
    return Answer(Asked([number]), status=202)


async def offered(context: Context) -> list[Offered]:
    """What numbers the tenant's Twilio account has, and whether they are here.

    Of the platform's account a platform key sees all numbers, a tenant's key its own.
    """
    try:
        return await number_import.offered(_registrar(context).desk, context.actor)
    except VaultError as error:
        raise Conflict(str(error)) from error


async def import_numbers(context: Context, *, body: ToImport) -> Imported:
    """Make numbers that the Twilio account has the tenant's. They lead nowhere until they are assigned."""
    try:
        return await number_import.import_numbers(_registrar(context).desk, context.actor, body)
    except VaultError as error:
        raise Conflict(str(error)) from error


def _registrar(context: Context) -> Registrar:
    if context.registrar is None:
        raise Conflict("This gateway sets nothing at Twilio.")
    return context.registrar
