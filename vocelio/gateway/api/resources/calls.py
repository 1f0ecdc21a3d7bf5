"""/v1/calls: history, and commands of operators to live calls."""

from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.calls.control.commands import Command, CommandResult
from vocelio.gateway.errors import Conflict, InvalidInput
from vocelio.gateway.model.types import CallerMessage, ResourceName
from vocelio.gateway.store.calls import history
from vocelio.gateway.store.calls.history import CallDetail, CallId, CallQuery, CallSummary, TimelineQuery
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.tenants import departments

JSON_LINES = "application/x-ndjson"


class TransferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The department to transfer the caller to."""

    department: ResourceName


class SayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text to speak to the caller, in the flow's voice."""

    text: CallerMessage


class JumpRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node to continue with: of the call's current flow, or of a flow that has called it."""

    node: Annotated[str, Meta(min_length=1, max_length=64)]


class CommandAccepted(msgspec.Struct, frozen=True):
    """The call has taken the command; its flow is now at ``node``. The timeline has what comes of it."""

    node: str = ""
    status: Annotated[Literal["accepted"], Meta(description="always the same")] = "accepted"


async def list_calls(context: RequestContext, *, query: CallQuery) -> Page[CallSummary]:
    """List the tenant's calls, newest first."""
    return await history.list_calls(context.database, context.tenant, query)


async def get_call(context: RequestContext, *, call: CallId, query: TimelineQuery) -> CallDetail:
    """Get a call with its timeline and its cost."""
    return await history.get_call_detail(context.database, context.tenant, call, query)


async def get_call_log(context: RequestContext, *, call: CallId) -> ApiResponse[bytes]:
    """Get the log of an ended call for `vocelio replay`, as JSON lines."""
    return ApiResponse(await history.get_call_log(context.database, context.tenant, call), media_type=JSON_LINES)


async def hang_up_call(context: RequestContext, *, call: CallId) -> ApiResponse[CommandAccepted]:
    """End a live call."""
    return await _send_command(context, call, "hang_up")


async def transfer_call(
    context: RequestContext, *, call: CallId, body: TransferRequest
) -> ApiResponse[CommandAccepted]:
    """Transfer the caller of a live call to a department.

    The department's hours and the tenant's dial rules and limits apply. If they reject the transfer, the flow goes on
    where it is, and the timeline has `transfer.rejected` with the reason.
    """
    known = await departments.list_departments(context.database, context.tenant)
    if body.department not in known:
        diagnostic = Diagnostic("department", "unknown-department", f"there is no department `{body.department}`")
        await history.get_call(context.database, context.tenant, call)  # NotFound takes precedence
        raise InvalidInput("The call cannot be transferred.", [diagnostic])
    return await _send_command(context, call, "transfer", body.department)


async def say_to_caller(context: RequestContext, *, call: CallId, body: SayRequest) -> ApiResponse[CommandAccepted]:
    """Speak a text to the caller of a live call. The flow goes on meanwhile."""
    return await _send_command(context, call, "say", body.text)


async def jump_to_node(context: RequestContext, *, call: CallId, body: JumpRequest) -> ApiResponse[CommandAccepted]:
    """Continue a live call with another node of its flow."""
    return await _send_command(context, call, "jump", body.node)


async def _send_command(
    context: RequestContext, call: str, command: Command, value: str = ""
) -> ApiResponse[CommandAccepted]:
    """Audit the command before the call gets it, so that no command of an operator goes unrecorded."""
    summary = await history.get_call(context.database, context.tenant, call)
    if summary.ended_at is not None:
        raise Conflict("The call has ended.")
    router, generation = context.calls.command_router, summary.generation
    _check_result(await router.check_command(context.tenant, call, command, value, generation), value)
    async with context.database.transaction() as connection:
        await context.actor.audit(connection, "call.command", call, after={"command": command, "value": value})
    result = await router.execute_command(context.tenant, call, command, value, generation)
    if result.verdict == "not_here":  # although it was checked just now
        raise Conflict("The call's process did not confirm the command in time; it may still be carried out.")
    _check_result(result, value)
    return ApiResponse(CommandAccepted(result.node), status=202)


def _check_result(result: CommandResult, value: str) -> CommandResult:
    """Raises Conflict, InvalidInput."""
    match result.verdict:
        case "accepted":
            return result
        case "ending":
            raise Conflict("The call is ending; only hangup is accepted.")
        case "unknown_node":
            diagnostic = Diagnostic("node", "unknown-node", f"the flow has no node `{value}`")
            raise InvalidInput("The call cannot jump to that node.", [diagnostic])
        case "not_here":
            raise Conflict("No process has the call at present: it is between two streams. Try again in a second.")
        case _:
            assert_never(result.verdict)
