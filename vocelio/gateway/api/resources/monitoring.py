"""/v1/live, /v1/events/tickets, /v1/processes, /v1/speech and /metrics: the present state of the gateway."""

from typing import Annotated

import msgspec
from msgspec import Meta

from vocelio.engine.voice import Tier
from vocelio.gateway.api.framework.authentication import TICKET_LIFETIME_SECONDS
from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.metrics import CONTENT_TYPE
from vocelio.gateway.model.types import PATTERN_END, PhoneNumber, ResourceName
from vocelio.gateway.monitors.call_view import EventFilter
from vocelio.gateway.speech.circuit_breaker import ServiceStatus
from vocelio.gateway.speech.fallback_synthesizer import FALLBACK_ORDER
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.history import CallId
from vocelio.gateway.store.calls.live import CallCount
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.process_heartbeats import Process

METRICS_QUERY_TIMEOUT_SECONDS = 2.0  # for the cluster's gauges: the process's own metrics do not wait longer for them

EventTypes = Annotated[
    str,
    Meta(
        pattern=f"^([a-z]+\\.[a-z_]+(,[a-z]+\\.[a-z_]+){{0,49}})?{PATTERN_END}",
        description="comma-separated event types",
    ),
]


class EventFeedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The calls that a monitor subscribes to, and the types of their events; all if there are none."""

    flow: ResourceName | None = None
    number: PhoneNumber | None = None
    call: CallId | None = None
    types: EventTypes = ""
    ticket: Annotated[str, Meta(max_length=200)] = ""

    @property
    def event_filter(self) -> EventFilter:
        """The filter of the subscription."""
        types = frozenset(filter(None, self.types.split(",")))
        return EventFilter(self.flow or "", self.number or "", self.call or "", types)


class ListenQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ticket of a client that cannot send a header."""

    ticket: Annotated[str, Meta(max_length=200)] = ""


class WebSocketTicket(msgspec.Struct, frozen=True):
    """A single-use ticket for `wss://.../v1/events?ticket=...`, valid until ``expires_at``."""

    ticket: str
    expires_at: Instant


class LiveCallCounts(msgspec.Struct, frozen=True):
    """Live calls by the database, and open media streams by process, as far as they answered in time.

    Processes have the ids of /v1/processes. A call between two streams, or transferred, is in no process.
    """

    calls: int
    tenants: list[CallCount]
    flows: list[CallCount]
    numbers: list[CallCount]
    processes: list[CallCount]


class SpeechProvider(msgspec.Struct, frozen=True):
    """State of a speech provider in this process. Without credentials it is not ``configured`` and has no services."""

    name: Tier
    configured: bool
    services: list[ServiceStatus]


class SpeechProviders(msgspec.Struct, frozen=True):
    """All speech providers. ``fallback_order`` has the providers that are tried for each voice tier, in order."""

    providers: list[SpeechProvider]
    fallback_order: dict[Tier, tuple[Tier, ...]]


async def create_ticket(context: RequestContext) -> ApiResponse[WebSocketTicket]:
    """Create a ticket for a browser, which cannot send a header with a WebSocket. It can do what the key can."""
    ticket = context.tickets.issue(context.actor)
    expires_at = Instant(context.actor.now + TICKET_LIFETIME_SECONDS * 1_000_000)
    return ApiResponse(WebSocketTicket(ticket, expires_at), status=201)


async def get_live_counts(context: RequestContext) -> LiveCallCounts:
    """Count live calls by tenant, flow, number and process; of all tenants for a platform key that names none."""
    counts = await live.count_live(context.database, context.tenant)
    processes = await process_heartbeats.list_processes(context.database, context.actor.now)
    streams = await context.calls.command_router.census(context.tenant, {process.id for process in processes})
    by_process = [CallCount(name, calls) for name, calls in sorted(streams.items())]
    total = sum(count.calls for count in counts["tenant"])
    return LiveCallCounts(total, counts["tenant"], counts["flow"], counts["number"], by_process)


async def list_processes(context: RequestContext) -> Page[Process]:
    """List the gateway's processes with a heartbeat within the last 30 s, oldest first, all on one page."""
    return Page(await process_heartbeats.list_processes(context.database, context.actor.now))


async def get_speech_providers(context: RequestContext) -> SpeechProviders:
    """Get the speech providers: whether they are configured and available, their latency and their last error."""
    statuses = context.calls.services.speech.status()
    by_provider: dict[Tier, list[ServiceStatus]] = {
        tier: [status for status in statuses if status.provider == tier] for tier in FALLBACK_ORDER
    }
    return SpeechProviders(
        [SpeechProvider(tier, bool(services), services) for tier, services in by_provider.items()],
        dict(FALLBACK_ORDER),
    )


async def get_metrics(context: RequestContext) -> ApiResponse[bytes]:
    """Get the metrics of this process for Prometheus: latencies, speech providers, calls and capacity.

    Each has the label `process`. Metrics named `vocelio_gateway_...` are about all processes together.
    """
    calls, services = context.calls, context.calls.services
    services.metrics.set_load(calls.admission.max_calls, calls.admission.lag_seconds, calls.registry.draining)
    services.metrics.set_dropped(services.bus.pubsub.dropped)
    usable = [(status.provider, status.service, status.state == "closed") for status in services.speech.status()]
    text = services.metrics.render(
        calls.process_id, len(calls.registry.live_calls), usable, await _gateway_gauges(context)
    )
    return ApiResponse(text, media_type=CONTENT_TYPE)


async def _gateway_gauges(context: RequestContext) -> dict[str, float]:
    """Sum up the heartbeats of all processes; without the database there are no such gauges."""
    try:
        query = process_heartbeats.list_processes(context.database, context.actor.now)
        processes = await context.database.with_timeout(query, METRICS_QUERY_TIMEOUT_SECONDS)
    except DatabaseUnavailable:
        return {}
    if not processes:
        return {}
    staying = [process for process in processes if not process.draining]
    return {
        "processes": len(staying),
        "draining_processes": len(processes) - len(staying),
        "live_calls": sum(process.live_calls for process in processes),
        "call_capacity": sum(process.capacity for process in staying),
        "calls_per_second": sum(process.calls_per_second for process in processes),
        "event_loop_lag_seconds": max(process.event_loop_lag_ms for process in processes) / 1_000,
    }
