"""/v1/numbers."""

from vocelio.gateway.api.framework.operation import Answer, Context, Page
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store import numbers
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.numbers import Assigned, NewAssignment, NewNumber, Number, NumberChange


async def every(context: Context, *, query: Page) -> Items[Number]:
    """The tenant's telephone numbers, in order."""
    return await numbers.every(context.database, context.tenant, query.limit, query.cursor)


async def create(context: Context, *, body: NewNumber) -> Answer[Number]:
    """Make a number that Twilio sends calls of. It leads nowhere until it is assigned.

    One of the platform's Twilio account takes a platform key.
    """
    if context.registrar is not None:
        await context.registrar.desk.check_claim(context.actor)
    made = await numbers.create(context.database, context.actor, body)
    return Answer(made, status=201, location=f"/v1/numbers/{made.number}")


async def show(context: Context, *, number: PhoneNumber) -> Number:
    """One number, and the flow that it leads to."""
    return await numbers.show(context.database, context.tenant, number)


async def change(context: Context, *, number: PhoneNumber, body: NumberChange) -> Number:
    """Change a number's label or fallback; null takes the fallback away."""
    return await numbers.change(context.database, context.actor, number, body)


async def remove(context: Context, *, number: PhoneNumber) -> None:
    """Give a number up that is assigned to no flow."""
    await numbers.remove(context.database, context.actor, number)


async def assign(context: Context, *, number: PhoneNumber, body: NewAssignment) -> Number:
    """Let a flow answer the number, from the next call on. In the background it is set so at Twilio, too."""
    return _set(context, await numbers.assign(context.database, context.actor, number, body.flow))


async def unassign(context: Context, *, number: PhoneNumber) -> Number:
    """Let the number lead to no flow. In the background it is set at Twilio to what it was before it led to one."""
    return _set(context, await numbers.unassign(context.database, context.actor, number))


async def assignments(context: Context, *, number: PhoneNumber, query: Page) -> Items[Assigned]:
    """What the number led to, the newest first, with who made it so and when."""
    return await numbers.history(context.database, context.tenant, number, query.limit, query.cursor)


def _set(context: Context, number: Number) -> Number:
    """Let it be set at Twilio at once."""
    if context.registrar is not None:
        context.registrar.wake()
    return number
