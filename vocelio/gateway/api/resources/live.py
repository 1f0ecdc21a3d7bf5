"""/v1/live, /v1/events/tickets: what goes on just now, and the way in for those who watch it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.api.framework.websocket_tickets import TICKET_LIFETIME_SECONDS
from vocelio.gateway.model.types import PATTERN_END, PhoneNumber, ResourceName
from vocelio.gateway.monitors.call_view import EventFilter
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.history import CallId, Instant
from vocelio.gateway.store.calls.live import CallCount

EventTypes = Annotated[
    str,
    Meta(
        pattern=f"^([a-z]+\\.[a-z_]+(,[a-z]+\\.[a-z_]+){{0,49}})?{PATTERN_END}",
        description="types of events, with commas",
    ),
]


class EventFeedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which calls a monitor wants to see; of their events all, or those ``types`` only."""

    flow: ResourceName | None = None
    number: PhoneNumber | None = None
    call: CallId | None = None
    types: EventTypes = ""
    ticket: Annotated[str, Meta(max_length=200)] = ""

    @property
    def event_filter(self) -> EventFilter:
        """The same, for the feed."""
        types = frozenset(filter(None, self.types.split(",")))
        return EventFilter(self.flow or "", self.number or "", self.call or "", types)


class ListenQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who listens in, where a header cannot be sent."""

    ticket: Annotated[str, Meta(max_length=200)] = ""


class WebSocketTicket(msgspec.Struct, frozen=True):
    """Good once, until ``expires``: `wss://.../v1/events?ticket=...`."""

    ticket: str
    expires: Instant


class LiveCallCounts(msgspec.Struct, frozen=True):
    """How many calls go on, by the store; and how many have a stream open, in each process that answered in time.

    Processes are named as in /v1/processes. A call between two streams, or transferred, is with no process.
    """

    calls: int
    tenants: list[CallCount]
    flows: list[CallCount]
    numbers: list[CallCount]
    processes: list[CallCount]


async def create_ticket(context: RequestContext) -> ApiResponse[WebSocketTicket]:
    """Make a ticket for a browser, which cannot send the key with a WebSocket. It can do what the key can."""
    made = context.tickets.issue(context.actor)
    return ApiResponse(WebSocketTicket(made, context.actor.now + TICKET_LIFETIME_SECONDS * 1_000_000), status=201)


async def get_live_counts(context: RequestContext) -> LiveCallCounts:
    """How many calls go on: by tenant, flow, number and process. A platform key that names no tenant sees all."""
    counts = await live.count_live(context.database, context.tenant)
    known = {process.id for process in await process_heartbeats.list_processes(context.database, context.actor.now)}
    context.slot.release()
    found = await context.calls.command_router.census(context.tenant, known)
    streams = [CallCount(name, calls) for name, calls in sorted(found.items())]
    total = sum(one.calls for one in counts["tenant"])
    return LiveCallCounts(total, counts["tenant"], counts["flow"], counts["number"], streams)
