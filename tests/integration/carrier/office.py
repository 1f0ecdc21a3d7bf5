"""Registrars at work: a tenant with a flow and a number, its account at the emulated API, time that stands still."""

import msgspec

from tests.gateway import CollectingBus
from tests.integration.carrier.conftest import ACCOUNT, NUMBER, TOKEN
from tests.integration.store.test_flows import promoted
from tests.integration.store.things import VAULT, tenant
from vocelio.gateway.config import Settings
from vocelio.gateway.store import numbers
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.provisioning import views
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning.context import Desk
from vocelio.gateway.twilio.provisioning.worker import Registrar
from vocelio.gateway.twilio.rest_client import Rest

PUBLIC_URL = "https://voice.example"
BEFORE = {
    "voice_url": "https://old.example/answer?a=1",
    "voice_method": "GET",
    "voice_fallback_url": "https://old.example/fallback",
    "voice_fallback_method": "POST",
    "status_callback": "",
    "status_callback_method": "POST",
}
OURS = {
    "voice_url": "https://voice.example/twilio/voice",
    "voice_method": "POST",
    "voice_fallback_url": "https://voice.example/twilio/fallback",
    "voice_fallback_method": "POST",
    "status_callback": "https://voice.example/twilio/status",
    "status_callback_method": "POST",
}


class Office:
    """Everything, at an instant that the test moves."""

    def __init__(self, database, twilio, actor):
        self.database, self.twilio, self.actor = database, twilio, actor
        self.now, self.bus, self.desks = actor().at, CollectingBus(), []
        self.account = twilio.account(ACCOUNT, TOKEN)

    def registrar(self, tokens=None, public_url=PUBLIC_URL, vault=VAULT):
        """Another process's registrar."""
        settings = Settings(public_url, tokens or {ACCOUNT: TOKEN})
        rest = Rest(self.twilio.origin, seconds=2.0, pauses=(0.01,))
        desk = Desk(settings, self.database, vault, self.bus, lambda: self.now, rest)
        self.desks.append(desk)
        return Registrar(desk)

    async def open(self, name="harbour", number=NUMBER):
        """A tenant with a flow and a number."""
        harbour = await tenant(self.database, self.actor, name)
        await promoted(self.database, harbour)
        if number:
            await numbers.create(self.database, harbour, NewNumber(number))

    def by(self, name="harbour"):
        """Somebody of the tenant's, now."""
        return msgspec.structs.replace(self.actor(name), at=self.now)

    async def assign(self, number=NUMBER, name="harbour"):
        """Let the number lead to the flow."""
        await numbers.assign(self.database, self.by(name), number, "front-desk")

    async def unassign(self, number=NUMBER, name="harbour"):
        """Let it lead nowhere."""
        await numbers.unassign(self.database, self.by(name), number)

    def there(self, number=NUMBER, account=None):
        """What Twilio has."""
        found = (account or self.account).number(number)
        return {name: found[name] for name in Webhooks.__struct_fields__}

    async def row(self, number=NUMBER, name="harbour"):
        """What is kept of the number, None when nothing is."""
        page = await views.every(self.database, name, 200, "")
        return next((line.kept for line in page.items if line.number == number), None)

    async def look(self, registrar, name="harbour"):
        """The drift check's answer for one number."""
        (one,) = (await drift.check(registrar.desk, name, 50, "")).items
        return one

    def later(self, seconds):
        """Time passes."""
        self.now += round(seconds * 1_000_000)

    def told(self):
        """The events, by type, of numbers."""
        return [event.type for event in self.bus.events]
