"""How full a process is, and how late its event loop."""

import asyncio

import pytest

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.calls.admission import LAG_CONFIRMATION_SECONDS, RESERVATION_SECONDS, AdmissionControl


async def run_busy_loop(seconds, blocked):
    """For so long the loop does something that takes ``blocked`` seconds each time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        loop._virtual.now += blocked
        await asyncio.sleep(0.05)


@in_virtual_time
async def test_started_call_counts_until_its_stream_comes():
    load = AdmissionControl(2)
    assert not load.is_full(0)
    load.reserve("a")
    assert not load.is_full(0)
    load.reserve("b")
    assert load.is_full(0), "both streams are still to come"
    load.release("a")
    load.release("b")
    assert load.is_full(2)
    assert not load.is_full(1)


@in_virtual_time
async def test_reservation_expires_without_a_stream():
    load = AdmissionControl(1)
    load.reserve("a")
    await asyncio.sleep(RESERVATION_SECONDS - 0.1)
    assert load.is_full(0)
    await asyncio.sleep(0.2)
    assert not load.is_full(0)
    load.release("a")  # late: that it has come at all is what counts then
    assert load.is_full(1)


@in_virtual_time
async def test_lasting_lag_refuses_calls_until_it_is_over_for_as_long():
    load = AdmissionControl(100)
    await load.start()
    await run_busy_loop(1.0, 0.3)
    assert not load.is_full(0), "it may be nothing"
    await run_busy_loop(LAG_CONFIRMATION_SECONDS + 1.5, 0.3)
    assert load.is_full(0)
    assert load.lag_seconds == pytest.approx(0.3, abs=0.06)
    await asyncio.sleep(LAG_CONFIRMATION_SECONDS - 0.5)
    assert load.is_full(0)
    await asyncio.sleep(2.0)
    assert not load.is_full(0)
    await asyncio.sleep(5.0)
    assert load.lag_seconds == pytest.approx(0.0, abs=1e-6)
    await load.aclose()


@in_virtual_time
async def test_single_pauses_are_no_lag():
    load = AdmissionControl(100)
    await load.start()
    for _ in range(20):
        await run_busy_loop(0.01, 0.4)
        await asyncio.sleep(0.6)
        assert not load.is_full(0)
    assert load.lag_seconds == pytest.approx(0.4, abs=0.06)
    await load.aclose()
