"""A real gateway on a free port, for tests: server, sockets, signatures; speech as the test chooses."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vocelio.engine.validation.loader import load
from vocelio.gateway.app import build
from vocelio.gateway.calls.interfaces import NoPrompts, Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import CAPACITY, Settings
from vocelio.gateway.events import PASSING, EventBus
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.recordings.service import in_memory
from vocelio.gateway.server.server import listen, running
from vocelio.gateway.simulator.signing import SharedKey
from vocelio.gateway.simulator.simulator import Carrier
from vocelio.gateway.speech.services import only
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite
from vocelio.gateway.twilio.signatures import no_tokens

ACCOUNT, TOKEN = "AC" + "5" * 32, "the auth token of the test"
PUBLIC_URL = "https://gateway.example"
SHARED_KEY = SharedKey("webhooks_sharedkey_1", "the secret of the shared key")
NUMBER, CALLER = "+13072249663", "+13105550142"
TENANT = Tenant(id="harbour", name="Harbour Tools")
DEPARTMENTS = {
    "sales": Department(("+13105550111",), whisper="A sales call."),
    "billing": Department(("+13105550112",)),
    "support": Department(("+13105550113", "+13105550114"), timeout=15),
    "desk": Department(("+13105550110",)),
    "everybody": Department(("+13105550111", "+13105550112"), ring="together"),
}


def assignment(flow, **parts):
    """What NUMBER leads to."""
    version = load(json.dumps(flow).encode())
    facts = {"tenant": TENANT, "departments": DEPARTMENTS, **parts}
    return Assignment(number=NUMBER, flow="flow", version=version, **facts)


class CollectingBus(EventBus):
    """Keeps every event that is more than of the moment, too."""

    def __init__(self, line=None):
        super().__init__(line)
        self.events = []

    def publish(self, event):
        if event.type not in PASSING:
            self.events.append(event)
        super().publish(event)

    def of(self, kind):
        """The data of every event of that type."""
        return [event.data for event in self.events if event.type == kind]


@dataclass
class Gateway:
    """A running gateway and a carrier that calls it."""

    origin: str
    carrier: Carrier
    bus: CollectingBus
    journal: MemoryJournal
    calls: Calls

    async def call(self, steps=(), **options):
        """A call to the one number."""
        return await self.carrier.call(NUMBER, CALLER, steps, **options)


@asynccontextmanager
async def gateway(
    flow,
    recognizer=None,
    synthesizer=None,
    *,
    site=None,
    journal=None,
    accounts=no_tokens,
    public_url=PUBLIC_URL,
    recordings=None,
    speech=None,
    prompts=None,
    line=None,
    beside=lambda calls: ((), ()),
    capacity=CAPACITY,
    **carrier_options,
):
    """A gateway with that flow behind NUMBER, or with another site; ``beside`` gives routes of an API and workers."""
    bus = CollectingBus(line)
    journal, recordings = journal or MemoryJournal(), recordings or in_memory()
    site = site or MemorySite([assignment(flow)], journal=journal)
    speech, prompts = speech or only(recognizer, synthesizer), prompts or NoPrompts()
    services = Services(site, speech, bus, Fetcher(), journal, wall_clock, recordings, prompts=prompts)
    calls = Calls(services, capacity=capacity)
    settings = Settings(public_url, {ACCOUNT: TOKEN}, webhook_keys={SHARED_KEY.id: SHARED_KEY.secret})
    api, workers = beside(calls)
    app = build(settings, calls, accounts=accounts, api=api, workers=workers)
    async with (
        running(app, listen()) as origin,
        Carrier(origin, public_url, ACCOUNT, TOKEN, **carrier_options) as carrier,
    ):
        yield Gateway(origin, carrier, bus, journal, calls)
