"""Who may ask the database at a time: nobody has a place without need, and nobody waits for one for ever."""

import asyncio

import pytest

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.api.framework.concurrency_limit import ConcurrencyLimiter
from vocelio.gateway.errors import Overloaded


@in_virtual_time
async def test_no_more_at_a_time_than_there_are_places():
    places, inside, most = ConcurrencyLimiter(8), 0, 0

    async def ask():
        nonlocal inside, most
        async with places.slot():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.1)
            inside -= 1

    await asyncio.gather(*(ask() for _ in range(80)))
    assert (most, asyncio.get_running_loop().time()) == (8, pytest.approx(1.0))


@in_virtual_time
async def test_whoever_gets_no_place_in_time_is_told_so():
    places, loop = ConcurrencyLimiter(1, 3.0), asyncio.get_running_loop()
    async with places.slot():
        with pytest.raises(Overloaded):
            async with places.slot():
                pass
        assert loop.time() == 3.0
    async with places.slot():
        assert loop.time() == 3.0


@in_virtual_time
async def test_who_waits_for_something_else_leaves_the_place_and_waits_for_one_again():
    places, loop = ConcurrencyLimiter(1, 3.0), asyncio.get_running_loop()
    place = places.slot()
    async with place:
        place.release()
        place.release()
        async with places.slot():
            with pytest.raises(Overloaded):
                await place.acquire()
        await place.acquire()
        await place.acquire()
        with pytest.raises(Overloaded):
            async with places.slot():
                pass
    async with places.slot():
        assert loop.time() == 6.0


@in_virtual_time
async def test_who_gives_up_waiting_takes_no_place_along():
    places = ConcurrencyLimiter(1)

    async def ask():
        async with places.slot():
            await asyncio.sleep(1)

    first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
    await asyncio.sleep(0.5)
    second.cancel()
    await first
    async with asyncio.timeout(0), places.slot():
        pass
