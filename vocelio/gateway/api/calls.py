"""/v1/calls."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vocelio.engine.problems import Problem
from vocelio.gateway.api.operation import Answer, Context
from vocelio.gateway.calls.registry import Command
from vocelio.gateway.errors import Conflict, Invalid
from vocelio.gateway.store import calls, departments
from vocelio.gateway.store.calls import Call, CallId, Search, Timeline, TimelinePage
from vocelio.gateway.store.pages import Items
from vocelio.gateway.store.site import Name, Sentence

JSON_LINES = "application/x-ndjson"


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to put the caller through to."""

    department: Name


class Say(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to tell the caller, in the voice of the flow."""

    text: Sentence


class Accepted(msgspec.Struct, frozen=True):
    """The call has been told. What comes of it is in its timeline."""

    status: Annotated[Literal["accepted"], Meta(description="always the same")] = "accepted"


async def every(context: Context, *, query: Search) -> Items[Call]:
    """The tenant's calls, the newest first."""
    return await calls.every(context.database, context.tenant, query)


async def show(context: Context, *, call: CallId, query: TimelinePage) -> Timeline:
    """One call with its timeline and its cost."""
    return await calls.timeline(context.database, context.tenant, call, query)


async def log(context: Context, *, call: CallId) -> Answer[bytes]:
    """The log of a call that has ended, to be replayed: JSON lines."""
    return Answer(await calls.log(context.database, context.tenant, call), media=JSON_LINES)


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
        await calls.find(context.database, context.tenant, call)  # a call that is not there comes first
        raise Invalid("The call cannot be transferred.", [problem])
    return await _command(context, call, "transfer", body.department)


async def say(context: Context, *, call: CallId, body: Say) -> Answer[Accepted]:
    """Tell the caller of a live call something. The flow goes on meanwhile."""
    return await _command(context, call, "say", body.text)


async def _command(context: Context, call: str, command: Command, value: str = "") -> Answer[Accepted]:
    """The trail has it before the call hears of it: what an operator did to a caller is never unknown."""
    found = await calls.find(context.database, context.tenant, call)
    if found.ended is not None:
        raise Conflict("The call has ended.")
    if call not in context.calls.live:
        raise _not_live()
    async with context.database.writing() as connection:
        await context.actor.record(connection, "call.commanded", call, after={"command": command, "value": value})
    if not context.calls.command(context.tenant, call, command, value):
        raise _not_live()
    return Answer(Accepted(), status=202)


def _not_live() -> Conflict:
    return Conflict("The call cannot be reached at present: it is between two streams. Try again in a second.")
