"""Every call here is placed by ``place``, which also checks that nothing of it is left."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.integration.simulator.peer import ACCOUNT, PUBLIC, TOKEN, Peer, serving
from vocelio.gateway.simulator.caller import Caller
from vocelio.gateway.simulator.carrier import Carrier
from vocelio.gateway.simulator.sids import source
from vocelio.gateway.simulator.switches import Switches

QUIET = 0.25
"""Seconds: the tones of these tests have no pauses, so the caller need not be patient."""

TO, FROM = "+13072249663", "+14155550100"


@pytest.fixture
async def place():
    """Call a peer; the report. Ends what it started."""
    async with AsyncExitStack() as stack:

        async def place(
            peer: Peer, caller=(), *, after_loss="go_on", after_failed_connect="go_on", fallback=None, **how
        ):
            await stack.enter_async_context(serving(peer))
            switches = Switches(
                next_connect=0.0, say_rate=1000, after_loss=after_loss, after_failed_connect=after_failed_connect
            )
            before = asyncio.all_tasks()
            async with Carrier(
                peer.origin, PUBLIC, ACCOUNT, TOKEN, switches=switches, fallback=fallback, rng=source(1)
            ) as carrier:
                person = Caller(tuple(caller), quiet=QUIET)
                report = await carrier.call(TO, FROM, person, **{"longest": 8.0, **how})
            ours = [task for task in asyncio.all_tasks() - before if "uvicorn" not in repr(task)]
            assert ours == []
            return report

        yield place
