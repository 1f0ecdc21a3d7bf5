"""Circuit breaker: probes do not belong to the call that failed."""

import asyncio
import json

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway import logs
from vocelio.gateway.speech.circuit_breaker import PROBE_BACKOFF, CircuitBreaker
from vocelio.gateway.speech.interfaces import AuthenticationFailed, SpeechError


@in_virtual_time
async def test_probe_is_not_logged_in_the_context_of_the_failed_call(caplog):
    caplog.set_level("INFO")
    caplog.handler.setFormatter(logs.JsonFormatter())
    outcomes = [SpeechError("away"), RuntimeError("+13072249663"), None]

    async def probe():
        if outcome := outcomes.pop(0):
            raise outcome

    async def call():
        logs.bind(call="CA1", tenant="harbour", redacted=False)
        breaker.record_failure(AuthenticationFailed("no"))

    breaker = CircuitBreaker("azure", "synthesis", probe)
    await asyncio.create_task(call())
    await asyncio.sleep(7 * PROBE_BACKOFF.initial_seconds + 1)
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert [(line["message"].partition(" of azure ")[2], line.get("call")) for line in lines] == [
        ("is not used for the next 5 s: no", "CA1"),
        ("failed unexpectedly", None),
        ("is used again", None),
    ]
    assert lines[1]["error"].endswith("RuntimeError: +***9663")
    await breaker.aclose()
