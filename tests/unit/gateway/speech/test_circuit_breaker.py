"""The probe of a service in trouble: the gateway's own, whoever's call it was that failed."""

import asyncio
import json

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway import logs
from vocelio.gateway.speech.circuit_breaker import PROBE_BACKOFF, CircuitBreaker
from vocelio.gateway.speech.interfaces import AuthenticationFailed, SpeechError


@in_virtual_time
async def test_probes_are_not_logged_as_the_calls_that_failed(caplog):
    caplog.set_level("INFO")
    caplog.handler.setFormatter(logs.JsonFormatter())
    outcomes = [SpeechError("away"), RuntimeError("+13072249663"), None]

    async def probe():
        if outcome := outcomes.pop(0):
            raise outcome

    async def call():
        logs.bind(call="CA1", tenant="harbour", redacted=False)
        health.record_failure(AuthenticationFailed("no"))

    health = CircuitBreaker("azure", "synthesis", probe)
    await asyncio.create_task(call())
    await asyncio.sleep(7 * PROBE_BACKOFF.initial_seconds + 1)
    told = [json.loads(line) for line in caplog.text.splitlines()]
    assert [(line["message"].partition(" of azure ")[2], line.get("call")) for line in told] == [
        ("is not used for the next 5 s: no", "CA1"),
        ("failed unexpectedly", None),
        ("is used again", None),
    ]
    assert told[1]["error"].endswith("RuntimeError: +***9663")
    await health.aclose()
