"""Every benchmark runs and counts correctly; speed is not asserted here (see `make bench`)."""

import pytest

from benchmarks import barge_in, calls, engine_step, fanout, lookup, reading_monitors, slow_monitors
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings
from vocelio.gateway.composition import connect_pubsub
from vocelio.gateway.monitors import send_queue


@pytest.mark.parametrize("kind", calls.SERVER_KINDS)
def test_cpu_cost_of_calls(kind):
    row = calls.measure(kind, 2, seconds=1.0)
    assert (row.server, row.calls, row.errors) == (kind, 2, 0)
    assert row.frames_sent >= 2 * 50 * 3
    assert row.messages_received > (row.frames_sent * 0.95 if kind in ("bare", "echo") else 0)
    assert row.cpu_ms_per_call_second > 0


def test_barge_in():
    row = barge_in.measure(2, seconds=8.0)
    assert (row.calls, row.errors) == (2, 0)
    assert row.interruptions >= 1
    assert 40 <= row.p50_ms <= row.p95_ms <= row.max_ms < 1000


def test_engine_step():
    assert all(row.p50 >= 0 for row in engine_step.measure(20))


async def test_lookup_latency(database):
    await lookup.seed_tenants(database, 0, 20)
    row = await lookup.measure(database, 20, lookups=50)
    assert (row.tenants, row.lookups) == (20, 50)
    assert 0 < row.warm_p50_ms <= row.warm_p99_ms
    assert row.memory_mb > 10


@pytest.mark.parametrize("transport", ["the process", "redis"])
async def test_fanout_latency(redis, transport):
    row = await fanout.measure(3, 50, seconds=1.0, redis_url=redis.url if transport == "redis" else "")
    assert (row.transport, row.monitors, row.delivered_share) == (transport, 3, 1.0)
    assert 10 < row.published_events < 60
    assert 0 < row.p50_ms <= row.p99_ms


async def test_publish_cost(redis):
    p50, p99 = await fanout.publish_cost(connect_pubsub(redis.url), watched=True)
    assert 0 < p50 <= p99


def test_gap_message_of_reading_monitors_equals_the_gateways():
    assert reading_monitors.GAP_MESSAGE == send_queue.GAP_MESSAGE


async def test_slow_monitors():
    """Bounds of what callers notice are checked by the benchmark itself."""
    result = await slow_monitors.measure(
        20,
        5,
        2,
        seconds=3.0,
        events_per_second=50,
        heartbeat=HeartbeatSettings(send_timeout_seconds=0.5),
        all_phases=False,
    )
    assert (len(result.cut_off_seconds), max(result.cut_off_seconds) <= slow_monitors.MAX_CUT_OFF_SECONDS) == (5, True)
    assert (result.delivered_share, result.gaps, result.closed_sockets) == (1.0, 0, 0)
    assert [(phase.calls, phase.errors) for phase in result.caller_experience] == [(2, 0)]
