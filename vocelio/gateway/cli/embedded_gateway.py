"""A gateway and a simulated Twilio in one process, on a free port: what the demo and spoken scenarios play on."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vocelio.gateway.app import build
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.config import SIMULATOR_ACCOUNT, Settings
from vocelio.gateway.server.server import listen, running
from vocelio.gateway.simulator.simulator import Carrier


@asynccontextmanager
async def stage(services: Services) -> AsyncIterator[Carrier]:
    """A carrier whose calls are answered with those services; its token is made up, and checked like any other."""
    listener = listen()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    token = secrets.token_hex(16)
    app = build(Settings(origin, {SIMULATOR_ACCOUNT: token}), Calls(services))
    async with running(app, listener) as server, Carrier(server, origin, SIMULATOR_ACCOUNT, token) as carrier:
        yield carrier
