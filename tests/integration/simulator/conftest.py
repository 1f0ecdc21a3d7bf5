"""Fixture that places simulated calls to a scripted gateway and checks that no task is left."""

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
"""The tones of these tests have no pauses, so a short silence ends a turn."""

BEHAVIOR_FIELDS = {field.name for field in fields(TwilioBehavior)}

SERVER_TASK_NAMES = ("uvicorn", "tests/support/faulty_tcp_proxy.py")
"""Parts of the names of the server's tasks."""

TO, FROM = "+13072249663", "+14155550100"


@pytest.fixture
async def place_call():
    """Call a scripted gateway with any fields of TwilioBehavior; return the report."""
    async with AsyncExitStack() as stack:

        async def place(peer: ScriptedGateway, caller=(), *, fallback=None, media_server_url=None, **options):
            if not peer.origin:
                await stack.enter_async_context(serve(peer))
            overrides = {name: options.pop(name) for name in BEHAVIOR_FIELDS & set(options)}
            behavior = TwilioBehavior(
                **{"reconnect_delay_seconds": 0.0, "say_characters_per_second": 1000, **overrides}
            )
            before = asyncio.all_tasks()
            async with TwilioSimulator(
                peer.origin,
                PUBLIC,
                ACCOUNT,
                TOKEN,
                media_server_url=media_server_url,
                behavior=behavior,
                fallback_path=fallback,
                rng=new_rng(1),
            ) as simulator:
                simulated_caller = SimulatedCaller(tuple(caller), endpoint_silence_seconds=ENDPOINT_SILENCE_SECONDS)
                report = await simulator.call(TO, FROM, simulated_caller, **{"max_seconds": 8.0, **options})
            leaked = [
                task
                for task in asyncio.all_tasks() - before
                if not any(word in repr(task) for word in SERVER_TASK_NAMES)
            ]
            assert leaked == []
            return report

        yield place
