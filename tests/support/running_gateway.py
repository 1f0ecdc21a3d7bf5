"""Runs a real gateway on a free port, with server, sockets and signatures; tests choose the speech providers."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.app import create_app
from vocelio.gateway.calls.components import CallComponents, build_call_components
from vocelio.gateway.calls.interfaces import CallServices, NoPreloader
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import DEFAULT_CAPACITY, Settings
from vocelio.gateway.events import TRANSIENT_TYPES, EventBus
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.recordings.service import in_memory_recordings
from vocelio.gateway.server.server import serve_embedded
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.simulator.signing import SharedKey
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory
from vocelio.gateway.twilio.signatures import no_tenant_tokens

ACCOUNT, TOKEN = "AC" + "5" * 32, "the auth token of the test"
PUBLIC_URL = "https://gateway.example"
SHARED_KEY = SharedKey("webhooks_sharedkey_1", "the secret of the shared key")
NUMBER, CALLER = "+13072249663", "+13105550142"
TENANT = Tenant(id="harbour", name="Harbour Tools")
DEPARTMENTS = {
    "sales": Department(("+13105550111",), whisper="A sales call."),
    "billing": Department(("+13105550112",)),
    "support": Department(("+13105550113", "+13105550114"), ring_timeout_seconds=15),
    "desk": Department(("+13105550110",)),
    "everybody": Department(("+13105550111", "+13105550112"), ring="simultaneous"),
}


def make_call_config(flow, **parts):
    """Create the call config of NUMBER."""
    version = load_flow(json.dumps(flow).encode())
    fields = {"tenant": TENANT, "departments": DEPARTMENTS, **parts}
    return CallConfig(number=NUMBER, flow="flow", version=version, **fields)


class RecordingBus(EventBus):
    """Event bus that records all events except transient ones."""

    def __init__(self, pubsub=None):
        super().__init__(pubsub)
        self.events = []

    def publish(self, event):
        if event.type not in TRANSIENT_TYPES:
            self.events.append(event)
        super().publish(event)

    def data_of(self, kind):
        """Return the data of all events of that type."""
        return [event.data for event in self.events if event.type == kind]


@dataclass
class RunningGateway:
    """A running gateway and a simulator that calls it."""

    origin: str
    simulator: TwilioSimulator
    bus: RecordingBus
    call_store: InMemoryCallStore
    calls: CallComponents

    async def call(self, steps=(), **options):
        """Call NUMBER."""
        return await self.simulator.call(NUMBER, CALLER, steps, **options)


@asynccontextmanager
async def running_gateway(
    flow,
    recognizer=None,
    synthesizer=None,
    *,
    directory=None,
    call_store=None,
    accounts=no_tenant_tokens,
    public_url=PUBLIC_URL,
    recordings=None,
    speech=None,
    prompts=None,
    pubsub=None,
    extra_routes_and_workers=lambda calls: ((), ()),
    max_calls=DEFAULT_CAPACITY,
    **simulator_options,
):
    """Run a gateway with the flow assigned to NUMBER, or with another directory, and extra routes and workers."""
    bus = RecordingBus(pubsub)
    call_store, recordings = call_store or InMemoryCallStore(), recordings or in_memory_recordings()
    directory = directory or InMemoryDirectory([make_call_config(flow)], call_store=call_store)
    speech, prompts = speech or single_provider(recognizer, synthesizer), prompts or NoPreloader()
    services = CallServices(
        directory, speech, bus, HttpClient(), call_store, wall_clock, recordings, prompt_preloader=prompts
    )
    calls = build_call_components(services, max_calls=max_calls)
    settings = Settings(public_url, {ACCOUNT: TOKEN}, webhook_keys={SHARED_KEY.id: SHARED_KEY.secret})
    api, workers = extra_routes_and_workers(calls)
    app = create_app(settings, calls, tenant_tokens=accounts, api_routes=api, background_services=workers)
    async with (
        serve_embedded(app, bind_socket()) as origin,
        TwilioSimulator(origin, public_url, ACCOUNT, TOKEN, **simulator_options) as simulator,
    ):
        yield RunningGateway(origin, simulator, bus, call_store, calls)
