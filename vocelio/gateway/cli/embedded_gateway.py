"""A gateway and a simulated Twilio in one process, on a free port: what the demo and spoken scenarios play on."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vocelio.gateway.app import create_app
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, Settings
from vocelio.gateway.server.server import bind_socket, serve_embedded
from vocelio.gateway.simulator.simulator import TwilioSimulator


@asynccontextmanager
async def embedded_gateway(services: CallServices) -> AsyncIterator[TwilioSimulator]:
    """A carrier whose calls are answered with those services; its token is made up, and checked like any other."""
    listener = bind_socket()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    token = secrets.token_hex(16)
    app = create_app(Settings(origin, {SIMULATOR_ACCOUNT_SID: token}), CallRegistry(services))
    async with (
        serve_embedded(app, listener) as server,
        TwilioSimulator(server, origin, SIMULATOR_ACCOUNT_SID, token) as carrier,
    ):
        yield carrier
