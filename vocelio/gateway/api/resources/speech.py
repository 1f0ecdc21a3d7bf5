"""/v1/speech, and /metrics."""

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.metrics import CONTENT_TYPE
from vocelio.gateway.speech.circuit_breaker import ServiceStatus
from vocelio.gateway.speech.fallback_synthesizer import FALLBACK_ORDER
from vocelio.gateway.store import process_heartbeats

QUERY_TIMEOUT_SECONDS = 2.0  # for the figures of the whole gateway: the process's own do not wait longer for them


class SpeechProvider(msgspec.Struct, frozen=True):
    """A provider of speech as this process knows it. One that is not ``configured`` has no services."""

    name: Tier
    configured: bool
    services: list[ServiceStatus]


class SpeechProviders(msgspec.Struct, frozen=True):
    """All of them. ``fallback_order`` has for each voice tier the providers that are tried, in order."""

    providers: list[SpeechProvider]
    fallback_order: dict[Tier, tuple[Tier, ...]]


async def get_speech_providers(context: RequestContext) -> SpeechProviders:
    """Who speaks and listens: what is configured, whether it can be had, how fast it is, and its last error."""
    reports = context.calls.services.speech.status()
    found: dict[Tier, list[ServiceStatus]] = {
        tier: [report for report in reports if report.provider == tier] for tier in FALLBACK_ORDER
    }
    return SpeechProviders(
        [SpeechProvider(tier, bool(services), services) for tier, services in found.items()], dict(FALLBACK_ORDER)
    )


async def get_metrics(context: RequestContext) -> ApiResponse[bytes]:
    """This process's figures, for Prometheus: latencies by part, speech by provider, calls and room for more.

    Each has the process's id as the label `process`. `vocelio_gateway_...` are those of all processes together.
    """
    calls, services = context.calls, context.calls.services
    services.metrics.set_load(calls.admission.max_calls, calls.admission.lag_seconds, calls.registry.draining)
    services.metrics.set_dropped(services.bus.pubsub.dropped)
    usable = [(one.provider, one.service, one.state == "closed") for one in services.speech.status()]
    text = services.metrics.render(
        calls.process_id, len(calls.registry.live_calls), usable, await _gateway_gauges(context)
    )
    return ApiResponse(text, media_type=CONTENT_TYPE)


async def _gateway_gauges(context: RequestContext) -> dict[str, float]:
    """Of the whole gateway, by its processes' own words; nothing without the database."""
    try:
        found = process_heartbeats.list_processes(context.database, context.actor.now)
        known = await context.database.with_timeout(found, QUERY_TIMEOUT_SECONDS)
    except DatabaseUnavailable:
        known = []
    if not known:
        return {}
    staying = [one for one in known if not one.draining]
    return {
        "processes": len(staying),
        "draining_processes": len(known) - len(staying),
        "live_calls": sum(one.live_calls for one in known),
        "call_capacity": sum(one.capacity for one in staying),
        "calls_per_second": sum(one.calls_per_second for one in known),
        "event_loop_lag_seconds": max(one.event_loop_lag_ms for one in known) / 1_000,
    }
