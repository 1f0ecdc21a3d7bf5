"""Every call here is placed by ``place``, which also checks that nothing of it is left."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import fields

import pytest

from tests.integration.simulator.peer import ACCOUNT, PUBLIC, TOKEN, Peer, serving
from vocelio.gateway.simulator.behavior import Switches
from vocelio.gateway.simulator.caller.script import Caller
from vocelio.gateway.simulator.sids import source
from vocelio.gateway.simulator.simulator import Carrier

QUIET = 0.25
"""Seconds: the tones of these tests have no pauses, so the caller need not be patient."""

SWITCHES = {field.name for field in fields(Switches)}

SERVERS = ("uvicorn", "tests/proxy.py")
"""In the names of tasks that are the other side's."""

TO, FROM = "+13072249663", "+14155550100"


@pytest.fixture
async def place():
    """Call a peer, with any of the switches; the report. Ends what it started."""
    async with AsyncExitStack() as stack:

        async def place(peer: Peer, caller=(), *, fallback=None, media_server=None, **how):
            if not peer.origin:
                await stack.enter_async_context(serving(peer))
            switched = {name: how.pop(name) for name in SWITCHES & set(how)}
            switches = Switches(**{"next_connect": 0.0, "say_rate": 1000, **switched})
            before = asyncio.all_tasks()
            async with Carrier(
                peer.origin,
                PUBLIC,
                ACCOUNT,
                TOKEN,
                media_server=media_server,
                switches=switches,
                fallback=fallback,
                rng=source(1),
            ) as carrier:
                person = Caller(tuple(caller), quiet=QUIET)
                report = await carrier.call(TO, FROM, person, **{"longest": 8.0, **how})
            ours = [task for task in asyncio.all_tasks() - before if not any(word in repr(task) for word in SERVERS)]
            assert ours == []
            return report

        yield place
