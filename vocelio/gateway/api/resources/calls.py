"""/v1/calls."""

from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Problem
from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.calls.control.commands import Command, Reaction
from vocelio.gateway.errors import Conflict, Invalid
from vocelio.gateway.model.types import Name, Sentence
from vocelio.gateway.store.calls import history
from vocelio.gateway.store.calls.history import Call, CallId, Search, Timeline, TimelinePage
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.tenants import departments

JSON_LINES = "application/x-ndjson"


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to put the caller through to."""

    department: Name


class Say(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to tell the caller, in the voice of the flow."""

    text: Sentence


class Jump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node to go on with: of the flow that the call is in, or of one around it."""

    node: Annotated[str, Meta(min_length=1, max_length=64)]


class Accepted(msgspec.Struct, frozen=True):
    """The call has been told, and the flow is at ``node`` now. What else comes of it is in its timeline."""

    node: str = ""
    status: Annotated[Literal["accepted"], Meta(description="always the same")] = "accepted"


async def every(context: Context, *, query: Search) -> Items[Call]:
    """The tenant's calls, the newest first."""
    return await history.every(context.database, context.tenant, query)


async def show(context: Context, *, call: CallId, query: TimelinePage) -> Timeline:
    """One call with its timeline and its cost."""
    return await history.timeline(context.database, context.tenant, call, query)


async def log(context: Context, *, call: CallId) -> Answer[bytes]:
    """The log of a call that has ended, to be replayed: JSON lines."""
    return Answer(await history.log(context.database, context.tenant, call), media=JSON_LINES)


async def hang_up(context: Context, *, call: CallId) -> Answer[Accepted]:
    """End a live call."""
    return await _command(context, call, "hang_up")


async def transfer(context: Context, *, call: CallId, body: Transfer) -> Answer[Accepted]:
    """Put the caller of a live call through to a department.

    Its hours and the tenant's rules and limits count here, too: refused, the caller stays where they were, and the
    timeline has `transfer.refused` with the reason.
    """
    known = await departments.every(context.database, context.tenant)
    if body.department not in known:
        problem = Problem("department", "unknown-department", f"there is no department `{body.department}`")
        await history.find(context.database, context.tenant, call)  # a call that is not there comes first
        raise Invalid("The call cannot be transferred.", [problem])
    return await _command(context, call, "transfer", body.department)


async def say(context: Context, *, call: CallId, body: Say) -> Answer[Accepted]:
    """Tell the caller of a live call something. The flow goes on meanwhile."""
    return await _command(context, call, "say", body.text)


async def jump(context: Context, *, call: CallId, body: Jump) -> Answer[Accepted]:
    """Let a live call go on with another node of its flow."""
    return await _command(context, call, "jump", body.node)


async def _command(context: Context, call: str, command: Command, value: str = "") -> Answer[Accepted]:
    """The trail has it before the call hears of it: what an operator did to a caller is never unknown."""
    found = await history.find(context.database, context.tenant, call)
    if found.ended is not None:
        raise Conflict("The call has ended.")
    dispatch, generation = context.calls.dispatch, found.generation
    context.place.leave()
    _check(await dispatch.could(context.tenant, call, command, value, generation), value)
    await context.place.take()
    async with context.database.writing() as connection:
        await context.actor.record(connection, "call.commanded", call, after={"command": command, "value": value})
    context.place.leave()
    reaction = await dispatch.command(context.tenant, call, command, value, generation)
    if reaction.verdict == "not_here":  # it was there just now
        raise Conflict(
            "The call's process has not confirmed it in time: it may be done yet. See where the call is first."
        )
    _check(reaction, value)
    return Answer(Accepted(reaction.node), status=202)


def _check(reaction: Reaction, value: str) -> Reaction:
    """Raises Conflict, Invalid."""
    match reaction.verdict:
        case "accepted":
            return reaction
        case "ending":
            raise Conflict("The call is ending: nothing but its end can be hurried.")
        case "unknown_node":
            problem = Problem("node", "unknown-node", f"the flow has no node `{value}`")
            raise Invalid("The call cannot jump there.", [problem])
        case "not_here":
            raise Conflict("No process has the call at present: it is between two streams. Try again in a second.")
        case _:
            assert_never(reaction.verdict)
