"""Registrars at work: a tenant with a flow and a number, its account at the emulated API, time that stands still."""

import msgspec

from tests.integration.store.test_flows import put_and_promote
from tests.integration.twilio.conftest import ACCOUNT, NUMBER, TOKEN
from tests.support.running_gateway import RecordingBus
from tests.support.tenant_fixtures import CIPHER, create_tenant
from vocelio.gateway.config import Settings
from vocelio.gateway.store import numbers
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.provisioning import views
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning.context import ProvisioningContext
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner
from vocelio.gateway.twilio.rest_client import TwilioClient

PUBLIC_URL = "https://voice.example"
PREVIOUS_WEBHOOKS = {
    "voice_url": "https://old.example/answer?a=1",
    "voice_method": "GET",
    "voice_fallback_url": "https://old.example/fallback",
    "voice_fallback_method": "POST",
    "status_callback": "",
    "status_callback_method": "POST",
}
GATEWAY_WEBHOOKS = {
    "voice_url": "https://voice.example/twilio/voice",
    "voice_method": "POST",
    "voice_fallback_url": "https://voice.example/twilio/fallback",
    "voice_fallback_method": "POST",
    "status_callback": "https://voice.example/twilio/status",
    "status_callback_method": "POST",
}


class ProvisioningEnv:
    """Everything, at an instant that the test moves."""

    def __init__(self, database, twilio, actor):
        self.database, self.twilio, self.actor = database, twilio, actor
        self.now, self.bus, self.contexts = actor().now, RecordingBus(), []
        self.twilio_account = twilio.add_account(ACCOUNT, TOKEN)

    def create_provisioner(self, tokens=None, public_url=PUBLIC_URL, vault=CIPHER):
        """Another process's registrar."""
        settings = Settings(public_url, tokens or {ACCOUNT: TOKEN})
        rest = TwilioClient(self.twilio.origin, timeout_seconds=2.0, retry_delays_seconds=(0.01,))
        desk = ProvisioningContext(settings, self.database, vault, self.bus, lambda: self.now, rest)
        self.contexts.append(desk)
        return NumberProvisioner(desk)

    async def create_tenant(self, name="harbour", number=NUMBER):
        """A tenant with a flow and a number."""
        harbour = await create_tenant(self.database, self.actor, name)
        await put_and_promote(self.database, harbour)
        if number:
            await numbers.create_number(self.database, harbour, NewNumber(number))

    def actor_now(self, name="harbour"):
        """Somebody of the tenant's, now."""
        return msgspec.structs.replace(self.actor(name), now=self.now)

    async def assign_number(self, number=NUMBER, name="harbour"):
        """Let the number lead to the flow."""
        await numbers.assign_number(self.database, self.actor_now(name), number, "front-desk")

    async def unassign_number(self, number=NUMBER, name="harbour"):
        """Let it lead nowhere."""
        await numbers.unassign_number(self.database, self.actor_now(name), number)

    def webhooks_at_twilio(self, number=NUMBER, account=None):
        """What Twilio has."""
        found = (account or self.twilio_account).get_number(number)
        return {name: found[name] for name in Webhooks.__struct_fields__}

    async def get_row(self, number=NUMBER, name="harbour"):
        """What is kept of the number, None when nothing is."""
        page = await views.list_provisioning(self.database, name, 200, "")
        return next((line.provisioning for line in page.items if line.number == number), None)

    async def check_drift(self, registrar, name="harbour"):
        """The drift check's answer for one number."""
        (one,) = (await drift.compare(registrar.context, name, 50, "")).items
        return one

    def advance_clock(self, seconds):
        """Time passes."""
        self.now += round(seconds * 1_000_000)

    def event_types(self):
        """The events, by type, of numbers."""
        return [event.type for event in self.bus.events]
