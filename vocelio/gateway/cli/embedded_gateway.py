"""A gateway and a simulated Twilio in one process, with offline speech: runs the demo and spoken scenarios."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vocelio.gateway.app import create_app
from vocelio.gateway.calls.components import build_call_components
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.clock import WallClock, wall_clock
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, Settings
from vocelio.gateway.events import EventBus
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import Directory
from vocelio.gateway.server.server import serve_embedded
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store.calls.interface import CallStore


def offline_services(
    directory: Directory,
    call_store: CallStore,
    bus: EventBus,
    recognizer: LocalRecognizer,
    clock: WallClock = wall_clock,
) -> CallServices:
    """Build call services with offline speech, without a database."""
    speech = single_provider(recognizer, LocalSynthesizer())
    return CallServices(directory, speech, bus, HttpClient(), call_store, clock)


@asynccontextmanager
async def embedded_gateway(services: CallServices) -> AsyncIterator[TwilioSimulator]:
    """Serve the services on a free port; yields a simulator that calls them. Its token is random, and verified."""
    listener = bind_socket()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    token = secrets.token_hex(16)
    app = create_app(Settings(origin, {SIMULATOR_ACCOUNT_SID: token}), build_call_components(services))
    async with (
        serve_embedded(app, listener) as server,
        TwilioSimulator(server, origin, SIMULATOR_ACCOUNT_SID, token) as simulator,
    ):
        yield simulator
