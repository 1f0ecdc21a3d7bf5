"""/v1/calls."""

from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.calls.control.commands import Command, CommandResult
from vocelio.gateway.errors import Conflict, UnprocessableContent
from vocelio.gateway.model.types import CallerMessage, ResourceName
from vocelio.gateway.store.calls import history
from vocelio.gateway.store.calls.history import CallDetail, CallId, CallQuery, CallSummary, TimelineQuery
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.tenants import departments

JSON_LINES = "application/x-ndjson"


class TransferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to put the caller through to."""

    department: ResourceName


class SayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to tell the caller, in the voice of the flow."""

    text: CallerMessage


class JumpRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node to go on with: of the flow that the call is in, or of one around it."""

    node: Annotated[str, Meta(min_length=1, max_length=64)]


class CommandAccepted(msgspec.Struct, frozen=True):
    """The call has been told, and the flow is at ``node`` now. What else comes of it is in its timeline."""

    node: str = ""
    status: Annotated[Literal["accepted"], Meta(description="always the same")] = "accepted"


async def list_calls(context: RequestContext, *, query: CallQuery) -> Page[CallSummary]:
    """The tenant's calls, the newest first."""
    return await history.list_calls(context.database, context.tenant, query)


async def get_call(context: RequestContext, *, call: CallId, query: TimelineQuery) -> CallDetail:
    """One call with its timeline and its cost."""
    return await history.get_call_detail(context.database, context.tenant, call, query)


async def get_call_log(context: RequestContext, *, call: CallId) -> ApiResponse[bytes]:
    """The log of a call that has ended, to be replayed: JSON lines."""
    return ApiResponse(await history.get_call_log(context.database, context.tenant, call), media_type=JSON_LINES)


async def hang_up_call(context: RequestContext, *, call: CallId) -> ApiResponse[CommandAccepted]:
    """End a live call."""
    return await _send_command(context, call, "hang_up")


async def transfer_call(
    context: RequestContext, *, call: CallId, body: TransferRequest
) -> ApiResponse[CommandAccepted]:
    """Put the caller of a live call through to a department.

    Its hours and the tenant's rules and limits count here, too: refused, the caller stays where they were, and the
    timeline has `transfer.rejected` with the reason.
    """
    known = await departments.list_departments(context.database, context.tenant)
    if body.department not in known:
        problem = Diagnostic("department", "unknown-department", f"there is no department `{body.department}`")
        await history.get_call(context.database, context.tenant, call)  # a call that is not there comes first
        raise UnprocessableContent("The call cannot be transferred.", [problem])
    return await _send_command(context, call, "transfer", body.department)


async def say_to_caller(context: RequestContext, *, call: CallId, body: SayRequest) -> ApiResponse[CommandAccepted]:
    """Tell the caller of a live call something. The flow goes on meanwhile."""
    return await _send_command(context, call, "say", body.text)


async def jump_to_node(context: RequestContext, *, call: CallId, body: JumpRequest) -> ApiResponse[CommandAccepted]:
    """Let a live call go on with another node of its flow."""
    return await _send_command(context, call, "jump", body.node)


async def _send_command(
    context: RequestContext, call: str, command: Command, value: str = ""
) -> ApiResponse[CommandAccepted]:
    """The trail has it before the call hears of it: what an operator did to a caller is never unknown."""
    found = await history.get_call(context.database, context.tenant, call)
    if found.ended_at is not None:
        raise Conflict("The call has ended.")
    dispatch, generation = context.calls.command_router, found.generation
    context.slot.release()
    _check_result(await dispatch.check_command(context.tenant, call, command, value, generation), value)
    await context.slot.acquire()
    async with context.database.transaction() as connection:
        await context.actor.audit(connection, "call.commanded", call, after={"command": command, "value": value})
    context.slot.release()
    reaction = await dispatch.execute_command(context.tenant, call, command, value, generation)
    if reaction.verdict == "not_here":  # it was there just now
        raise Conflict(
            "The call's process has not confirmed it in time: it may be done yet. See where the call is first."
        )
    _check_result(reaction, value)
    return ApiResponse(CommandAccepted(reaction.node), status=202)


def _check_result(result: CommandResult, value: str) -> CommandResult:
    """Raises Conflict, Invalid."""
    match result.verdict:
        case "accepted":
            return result
        case "ending":
            raise Conflict("The call is ending: nothing but its end can be hurried.")
        case "unknown_node":
            problem = Diagnostic("node", "unknown-node", f"the flow has no node `{value}`")
            raise UnprocessableContent("The call cannot jump there.", [problem])
        case "not_here":
            raise Conflict("No process has the call at present: it is between two streams. Try again in a second.")
        case _:
            assert_never(result.verdict)
