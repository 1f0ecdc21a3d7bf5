"""/v1/numbers."""

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store import numbers
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.numbers import AssignmentRecord, NewAssignment, NewNumber, Number, NumberUpdate


async def list_numbers(context: RequestContext, *, query: PageQuery) -> Page[Number]:
    """The tenant's telephone numbers, in order."""
    return await numbers.list_numbers(context.database, context.tenant, query.limit, query.cursor)


async def create_number(context: RequestContext, *, body: NewNumber) -> ApiResponse[Number]:
    """Make a number that Twilio sends calls of. It leads nowhere until it is assigned.

    One of the platform's Twilio account takes a platform key.
    """
    if context.provisioner is not None:
        await context.provisioner.context.check_ownership(context.actor)
    made = await numbers.create_number(context.database, context.actor, body)
    return ApiResponse(made, status=201, location=f"/v1/numbers/{made.number}")


async def get_number(context: RequestContext, *, number: PhoneNumber) -> Number:
    """One number, and the flow that it leads to."""
    return await numbers.get_number(context.database, context.tenant, number)


async def update_number(context: RequestContext, *, number: PhoneNumber, body: NumberUpdate) -> Number:
    """Change a number's label or fallback; null takes the fallback away."""
    return await numbers.update_number(context.database, context.actor, number, body)


async def delete_number(context: RequestContext, *, number: PhoneNumber) -> None:
    """Give a number up that is assigned to no flow."""
    await numbers.delete_number(context.database, context.actor, number)


async def assign_number(context: RequestContext, *, number: PhoneNumber, body: NewAssignment) -> Number:
    """Let a flow answer the number, from the next call on. In the background it is set so at Twilio, too."""
    return _notify_provisioner(context, await numbers.assign_number(context.database, context.actor, number, body.flow))


async def unassign_number(context: RequestContext, *, number: PhoneNumber) -> Number:
    """Let the number lead to no flow. In the background it is set at Twilio to what it was before it led to one."""
    return _notify_provisioner(context, await numbers.unassign_number(context.database, context.actor, number))


async def list_assignments(context: RequestContext, *, number: PhoneNumber, query: PageQuery) -> Page[AssignmentRecord]:
    """What the number led to, the newest first, with who made it so and when."""
    return await numbers.list_assignments(context.database, context.tenant, number, query.limit, query.cursor)


def _notify_provisioner(context: RequestContext, number: Number) -> Number:
    """Let it be set at Twilio at once."""
    if context.provisioner is not None:
        context.provisioner.notify()
    return number
