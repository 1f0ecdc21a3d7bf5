"""Environment of number provisioning tests: a tenant with a number, an emulated Twilio account, a manual clock."""

import msgspec

from tests.integration.store.test_flows import put_and_promote
from tests.integration.twilio.conftest import ACCOUNT, NUMBER, TOKEN
from tests.support.running_gateway import RecordingBus
from tests.support.tenant_fixtures import CIPHER, create_tenant
from vocelio.gateway.config import Settings
from vocelio.gateway.store import number_provisioning, numbers
from vocelio.gateway.store.number_provisioning import Webhooks
from vocelio.gateway.store.numbers import NewNumber
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
    """Database, emulated API and event bus, at a time that the test advances."""

    def __init__(self, database, twilio, actor):
        self.database, self.twilio, self.actor = database, twilio, actor
        self.now, self.bus, self.contexts = actor().now, RecordingBus(), []
        self.twilio_account = twilio.add_account(ACCOUNT, TOKEN)

    def create_provisioner(self, tokens=None, public_url=PUBLIC_URL, cipher=CIPHER):
        """Create the provisioner of another process."""
        settings = Settings(public_url, tokens or {ACCOUNT: TOKEN})
        client = TwilioClient(self.twilio.origin, timeout_seconds=2.0, retry_delays_seconds=(0.01,))
        context = ProvisioningContext(settings, self.database, cipher, self.bus, lambda: self.now, client)
        self.contexts.append(context)
        return NumberProvisioner(context)

    async def create_tenant(self, name="harbour", number=NUMBER):
        """Create a tenant with a flow and a number."""
        actor = await create_tenant(self.database, self.actor, name)
        await put_and_promote(self.database, actor)
        if number:
            await numbers.create_number(self.database, actor, NewNumber(number))

    def actor_now(self, name="harbour"):
        """Return an actor of the tenant, acting now."""
        return msgspec.structs.replace(self.actor(name), now=self.now)

    async def assign_number(self, number=NUMBER, name="harbour"):
        """Assign the number to the flow."""
        await numbers.assign_number(self.database, self.actor_now(name), number, "front-desk")

    async def unassign_number(self, number=NUMBER, name="harbour"):
        await numbers.unassign_number(self.database, self.actor_now(name), number)

    def webhooks_at_twilio(self, number=NUMBER, account=None):
        """Return the webhooks that are set at Twilio."""
        resource = (account or self.twilio_account).get_number(number)
        return {name: resource[name] for name in Webhooks.__struct_fields__}

    async def get_row(self, number=NUMBER, name="harbour"):
        """Return the number's row of the queue, or None."""
        page = await number_provisioning.list_provisioning(self.database, name, 200, "")
        return next((view.provisioning for view in page.items if view.number == number), None)

    async def check_drift(self, provisioner, name="harbour"):
        """Compare the tenant's only number."""
        (compared,) = (await drift.compare(provisioner.context, name, 50, "")).items
        return compared

    def advance_clock(self, seconds):
        self.now += round(seconds * 1_000_000)

    def event_types(self):
        """Return the types of all published events."""
        return [event.type for event in self.bus.events]
