"""/v1/speech, and /metrics."""

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.api.operation import Answer, Context
from vocelio.gateway.metrics import CONTENT_TYPE
from vocelio.gateway.speech.health import Report
from vocelio.gateway.speech.voices import PLAN


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
    """This process's figures, for Prometheus: latencies by part, speech by provider, calls and room for more."""
    calls, services = context.calls, context.calls.services
    services.metrics.load(calls.load.capacity, calls.load.lag, calls.draining)
    services.metrics.lost(services.bus.line.lost)
    usable = [(one.provider, one.service, one.state == "closed") for one in services.speech.report()]
    return Answer(services.metrics.text(len(calls.live), usable), media=CONTENT_TYPE)
