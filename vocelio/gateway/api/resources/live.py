"""/v1/live, /v1/events/tickets: what goes on just now, and the way in for those who watch it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.api.framework.websocket_tickets import SECONDS
from vocelio.gateway.model.types import END, Name, PhoneNumber
from vocelio.gateway.monitors.event_filter import Wanted
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.history import CallId, Instant
from vocelio.gateway.store.calls.live import Count

Types = Annotated[
    str,
    Meta(pattern=f"^([a-z]+\\.[a-z_]+(,[a-z]+\\.[a-z_]+){{0,49}})?{END}", description="types of events, with commas"),
]


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which calls a monitor wants to see; of their events all, or those ``types`` only."""

    flow: Name | None = None
    number: PhoneNumber | None = None
    call: CallId | None = None
    types: Types = ""
    ticket: Annotated[str, Meta(max_length=200)] = ""

    @property
    def wanted(self) -> Wanted:
        """The same, for the feed."""
        types = frozenset(filter(None, self.types.split(",")))
        return Wanted(self.flow or "", self.number or "", self.call or "", types)


class ListenIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who listens in, where a header cannot be sent."""

    ticket: Annotated[str, Meta(max_length=200)] = ""


class Ticket(msgspec.Struct, frozen=True):
    """Good once, until ``expires``: `wss://.../v1/events?ticket=...`."""

    ticket: str
    expires: Instant


class Totals(msgspec.Struct, frozen=True):
    """How many calls go on, by the store; and how many have a stream open, in each process that answered in time.

    Processes are named as in /v1/processes. A call between two streams, or transferred, is with no process.
    """

    calls: int
    tenants: list[Count]
    flows: list[Count]
    numbers: list[Count]
    processes: list[Count]


async def ticket(context: Context) -> Answer[Ticket]:
    """Make a ticket for a browser, which cannot send the key with a WebSocket. It can do what the key can."""
    made = context.tickets.issue(context.actor)
    return Answer(Ticket(made, context.actor.at + SECONDS * 1_000_000), status=201)


async def totals(context: Context) -> Totals:
    """How many calls go on: by tenant, flow, number and process. A platform key that names no tenant sees all."""
    counts = await live.count(context.database, context.tenant)
    known = {process.id for process in await process_heartbeats.every(context.database, context.actor.at)}
    context.place.leave()
    found = await context.calls.dispatch.census(context.tenant, known)
    streams = [Count(name, calls) for name, calls in sorted(found.items())]
    total = sum(one.calls for one in counts["tenant"])
    return Totals(total, counts["tenant"], counts["flow"], counts["number"], streams)
