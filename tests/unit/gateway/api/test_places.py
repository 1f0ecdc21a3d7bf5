"""Who may ask the database at a time: nobody has a place without need, and nobody waits for one for ever."""

import asyncio

import pytest

from tests.virtual_time import in_virtual_time
from vocelio.gateway.api.framework.concurrency_limit import Places
from vocelio.gateway.errors import Busy


@in_virtual_time
async def test_no_more_at_a_time_than_there_are_places():
    places, inside, most = Places(8), 0, 0

    async def ask():
        nonlocal inside, most
        async with places.one():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.1)
            inside -= 1

    await asyncio.gather(*(ask() for _ in range(80)))
    assert (most, asyncio.get_running_loop().time()) == (8, pytest.approx(1.0))


@in_virtual_time
async def test_whoever_gets_no_place_in_time_is_told_so():
    places, loop = Places(1, 3.0), asyncio.get_running_loop()
    async with places.one():
        with pytest.raises(Busy):
            async with places.one():
                pass
        assert loop.time() == 3.0
    async with places.one():
        assert loop.time() == 3.0


@in_virtual_time
async def test_who_waits_for_something_else_leaves_the_place_and_waits_for_one_again():
    places, loop = Places(1, 3.0), asyncio.get_running_loop()
    place = places.one()
    async with place:
        place.leave()
        place.leave()
        async with places.one():
            with pytest.raises(Busy):
                await place.take()
        await place.take()
        await place.take()
        with pytest.raises(Busy):
            async with places.one():
                pass
    async with places.one():
        assert loop.time() == 6.0


@in_virtual_time
async def test_who_gives_up_waiting_takes_no_place_along():
    places = Places(1)

    async def ask():
        async with places.one():
            await asyncio.sleep(1)

    first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
    await asyncio.sleep(0.5)
    second.cancel()
    await first
    async with asyncio.timeout(0), places.one():
        pass
