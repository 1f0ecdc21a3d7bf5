"""Process heartbeats: the latest is stored, stale processes are dropped."""

import asyncio

import msgspec

from tests.support.running_gateway import RecordingBus
from vocelio.gateway.calls.background.process_heartbeat import ProcessHeartbeat
from vocelio.gateway.calls.components import build_call_components
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store import process_heartbeats
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory
from vocelio.gateway.store.process_heartbeats import STALE_AFTER_MICROSECONDS, Process

NOW = 1_700_000_000_000_000
ONE = Process(
    id="one",
    host="left",
    pid=7,
    version="1.2.3",
    started_at=NOW,
    last_seen_at=NOW,
    capacity=200,
    live_calls=3,
    calls_per_second=0.5,
    event_loop_lag_ms=1.5,
    draining=False,
)


async def test_latest_heartbeat_replaces_earlier_ones(database):
    await process_heartbeats.upsert_process(database, ONE)
    later = msgspec.structs.replace(ONE, last_seen_at=NOW + 5, live_calls=4, draining=True)
    await process_heartbeats.upsert_process(database, later)
    assert await process_heartbeats.list_processes(database, NOW + 10) == [later]


async def test_process_without_heartbeat_is_dropped(database):
    await process_heartbeats.upsert_process(database, ONE)
    assert await process_heartbeats.list_processes(database, NOW + STALE_AFTER_MICROSECONDS) == [ONE]
    assert await process_heartbeats.list_processes(database, NOW + STALE_AFTER_MICROSECONDS + 1) == []
    other = msgspec.structs.replace(ONE, id="two", started_at=NOW + 1, last_seen_at=NOW + STALE_AFTER_MICROSECONDS + 1)
    await process_heartbeats.upsert_process(database, other)
    assert await process_heartbeats.list_processes(database, NOW) == [other], "and is forgotten"
    await process_heartbeats.delete_process(database, "two")
    assert await process_heartbeats.list_processes(database, NOW) == []


async def test_process_sends_heartbeats_until_it_ends(database):
    now = NOW
    speech = single_provider(ScriptedRecognizer(()), ToneSynthesizer())
    services = CallServices(
        InMemoryDirectory([]), speech, RecordingBus(), HttpClient(), InMemoryCallStore(), lambda: now
    )
    calls = build_call_components(services, max_calls=7)
    heartbeat = ProcessHeartbeat(database, calls)
    now += 2_000_000
    calls.lifecycle.calls_started += 1
    calls.registry.draining = True
    await heartbeat.start()
    async with asyncio.timeout(10):
        while not (result := await process_heartbeats.list_processes(database, now)):  # noqa: ASYNC110 (another task tells it)
            await asyncio.sleep(0.01)
    (process,) = result
    assert (process.id, process.started_at, process.last_seen_at, process.capacity) == (heartbeat.id, NOW, now, 7)
    assert (process.calls_per_second, process.draining) == (0.5, True)
    await heartbeat.aclose()
    assert await process_heartbeats.list_processes(database, now) == []
