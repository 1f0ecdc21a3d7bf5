"""How full a process is, and how late its event loop."""

import asyncio

import pytest

from tests.virtual_time import in_virtual_time
from vocelio.gateway.calls.admission import COMING_SECONDS, LASTING, Load


async def busy(seconds, blocked):
    """For so long the loop does something that takes ``blocked`` seconds each time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        loop._virtual.now += blocked
        await asyncio.sleep(0.05)


@in_virtual_time
async def test_a_call_has_its_place_from_its_begin():
    load = Load(2)
    assert not load.full(0)
    load.begins("a")
    assert not load.full(0)
    load.begins("b")
    assert load.full(0), "both streams are still to come"
    load.arrived("a")
    load.arrived("b")
    assert load.full(2)
    assert not load.full(1)


@in_virtual_time
async def test_a_stream_that_another_process_got_is_not_waited_for():
    load = Load(1)
    load.begins("a")
    await asyncio.sleep(COMING_SECONDS - 0.1)
    assert load.full(0)
    await asyncio.sleep(0.2)
    assert not load.full(0)
    load.arrived("a")  # late: that it has come at all is what counts then
    assert load.full(1)


@in_virtual_time
async def test_a_loop_that_is_late_for_seconds_takes_no_calls_until_it_has_been_punctual_for_as_long():
    load = Load(100)
    await load.start()
    await busy(1.0, 0.3)
    assert not load.full(0), "it may be nothing"
    await busy(LASTING + 1.5, 0.3)
    assert load.full(0)
    assert load.lag == pytest.approx(0.3, abs=0.06)
    await asyncio.sleep(LASTING - 0.5)
    assert load.full(0)
    await asyncio.sleep(2.0)
    assert not load.full(0)
    await asyncio.sleep(5.0)
    assert load.lag == pytest.approx(0.0, abs=1e-6)
    await load.aclose()


@in_virtual_time
async def test_a_pause_now_and_then_is_no_lateness():
    load = Load(100)
    await load.start()
    for _ in range(20):
        await busy(0.01, 0.4)
        await asyncio.sleep(0.6)
        assert not load.full(0)
    assert load.lag == pytest.approx(0.4, abs=0.06)
    await load.aclose()
