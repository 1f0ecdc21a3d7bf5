"""/v1/speech, and /metrics."""

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.metrics import CONTENT_TYPE
from vocelio.gateway.speech.circuit_breaker import Report
from vocelio.gateway.speech.fallback_synthesizer import PLAN
from vocelio.gateway.store import process_heartbeats

STORE_SECONDS = 2.0  # for the figures of the whole gateway: the process's own do not wait longer for them


class Provider(msgspec.Struct, frozen=True):
    """A provider of speech as this process knows it. One that is not ``configured`` has no services."""

    name: Tier
    configured: bool
    services: list[Report]


class Providers(msgspec.Struct, frozen=True):
    """All of them. ``plan`` has for each voice tier the providers that are tried, in order."""

    providers: list[Provider]
    plan: dict[Tier, tuple[Tier, ...]]


async def providers(context: Context) -> Providers:
    """Who speaks and listens: what is configured, whether it can be had, how fast it is, and its last error."""
    reports = context.calls.services.speech.report()
    found: dict[Tier, list[Report]] = {tier: [report for report in reports if report.provider == tier] for tier in PLAN}
    return Providers([Provider(tier, bool(services), services) for tier, services in found.items()], dict(PLAN))


async def metrics(context: Context) -> Answer[bytes]:
    """This process's figures, for Prometheus: latencies by part, speech by provider, calls and room for more.

    Each has the process's id as the label `process`. `vocelio_gateway_...` are those of all processes together.
    """
    calls, services = context.calls, context.calls.services
    services.metrics.load(calls.load.capacity, calls.load.lag, calls.draining)
    services.metrics.lost(services.bus.line.lost)
    usable = [(one.provider, one.service, one.state == "closed") for one in services.speech.report()]
    text = services.metrics.text(services.bus.line.process, len(calls.live), usable, await _whole(context))
    return Answer(text, media=CONTENT_TYPE)


async def _whole(context: Context) -> dict[str, float]:
    """Of the whole gateway, by its processes' own words; nothing without the database."""
    try:
        found = process_heartbeats.every(context.database, context.actor.at)
        known = await context.database.in_time(found, STORE_SECONDS)
    except StoreUnavailable:
        known = []
    if not known:
        return {}
    staying = [one for one in known if not one.draining]
    return {
        "processes": len(staying),
        "draining_processes": len(known) - len(staying),
        "live_calls": sum(one.live_calls for one in known),
        "capacity": sum(one.capacity for one in staying),
        "calls_per_second": sum(one.calls_per_second for one in known),
        "loop_lag_seconds": max(one.lag_ms for one in known) / 1_000,
    }
