"""Every call here is placed by ``place``, which also checks that nothing of it is left."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import fields

import pytest

from tests.support.scripted_gateway import ACCOUNT, PUBLIC, TOKEN, ScriptedGateway, serve
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.caller.script import SimulatedCaller
from vocelio.gateway.simulator.sids import new_rng
from vocelio.gateway.simulator.simulator import TwilioSimulator

ENDPOINT_SILENCE_SECONDS = 0.25
"""Seconds: the tones of these tests have no pauses, so the caller need not be patient."""

BEHAVIOR_FIELDS = {field.name for field in fields(TwilioBehavior)}

SERVER_TASK_NAMES = ("uvicorn", "tests/support/faulty_tcp_proxy.py")
"""In the names of tasks that are the other side's."""

TO, FROM = "+13072249663", "+14155550100"


@pytest.fixture
async def place_call():
    """Call a peer, with any of the switches; the report. Ends what it started."""
    async with AsyncExitStack() as stack:

        async def place(peer: ScriptedGateway, caller=(), *, fallback=None, media_server_url=None, **how):
            if not peer.origin:
                await stack.enter_async_context(serve(peer))
            switched = {name: how.pop(name) for name in BEHAVIOR_FIELDS & set(how)}
            switches = TwilioBehavior(**{"reconnect_delay_seconds": 0.0, "say_characters_per_second": 1000, **switched})
            before = asyncio.all_tasks()
            async with TwilioSimulator(
                peer.origin,
                PUBLIC,
                ACCOUNT,
                TOKEN,
                media_server_url=media_server_url,
                behavior=switches,
                fallback_path=fallback,
                rng=new_rng(1),
            ) as carrier:
                person = SimulatedCaller(tuple(caller), endpoint_silence_seconds=ENDPOINT_SILENCE_SECONDS)
                report = await carrier.call(TO, FROM, person, **{"max_seconds": 8.0, **how})
            ours = [
                task
                for task in asyncio.all_tasks() - before
                if not any(word in repr(task) for word in SERVER_TASK_NAMES)
            ]
            assert ours == []
            return report

        yield place
