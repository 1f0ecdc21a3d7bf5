"""The benches run, and what they count is what was sent; how fast is for `make bench` to say."""

import pytest

from benchmarks import barge_in, calls, crowd, engine_step, fanout, lookup, readers
from vocelio.gateway.api.websockets.push_socket import Pace
from vocelio.gateway.events.factory import connect
from vocelio.gateway.monitors import send_queue


@pytest.mark.parametrize("kind", calls.KINDS)
def test_calls(kind):
    row = calls.measure(kind, 2, seconds=1.0)
    assert (row.server, row.calls, row.errors) == (kind, 2, 0)
    assert row.sent >= 2 * 50 * 3
    assert row.received > (row.sent * 0.95 if kind in ("bare", "echo") else 0)
    assert row.cpu_ms > 0


def test_barge_in():
    row = barge_in.measure(2, seconds=8.0)
    assert (row.calls, row.errors) == (2, 0)
    assert row.interruptions >= 1
    assert 40 <= row.p50 <= row.p95 <= row.largest < 1000


def test_engine_step():
    assert all(row.p50 >= 0 for row in engine_step.rows(20))


async def test_lookup(database):
    await lookup.seed(database, 0, 20)
    row = await lookup.measure(database, 20, lookups=50)
    assert (row.tenants, row.lookups) == (20, 50)
    assert 0 < row.warm_p50 <= row.warm_p99
    assert row.memory > 10


@pytest.mark.parametrize("through", ["the process", "redis"])
async def test_fanout(redis, through):
    row = await fanout.measure(3, 50, seconds=1.0, redis=redis.url if through == "redis" else "")
    assert (row.through, row.monitors, row.arrived) == (through, 3, 1.0)
    assert 10 < row.events < 60
    assert 0 < row.p50 <= row.p99


async def test_publishing(redis):
    p50, p99 = await fanout.cost(connect(redis.url), watched=True)
    assert 0 < p50 <= p99


def test_readers_know_what_a_gap_is():
    assert readers.GAP == send_queue.GAP


async def test_crowd():
    """What callers notice of it is for the bench itself to say."""
    result = await crowd.measure(20, 5, 2, seconds=3.0, rate=50, pace=Pace(slow=0.5), whole=False)
    assert (len(result.cut_off), max(result.cut_off) <= crowd.CUT_OFF) == (5, True)
    assert (result.arrived, result.gaps, result.ended) == (1.0, 0, 0)
    assert [(one.calls, one.errors) for one in result.sound] == [(2, 0)]
