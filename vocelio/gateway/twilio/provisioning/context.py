"""What everything needs that has to do with numbers at Twilio, in one place."""

import asyncio
from typing import Any

from vocelio.gateway.clock import WallClock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.errors import Forbidden, TooManyRequests
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.credentials import Credential, TwilioCredentials
from vocelio.gateway.twilio.rest_client import TwilioAccountClient, TwilioClient

MAX_CONCURRENT_REQUESTS = (
    3  # questions of the API's that wait for Twilio: whoever comes on top of them is sent away, not kept waiting
)
NO_ACCOUNT_MESSAGE = (
    "No Twilio account is set up (TWILIO_ACCOUNT_SID, or the tenant's own): "
    "the simulator's has no API, so nothing is set there."
)


NOT_OWNED_MESSAGE = (
    "Numbers of the platform's Twilio account are given to tenants with a platform key. "
    "A tenant with an account of its own (PUT /v1/tenant/twilio) makes its own."
)


class ProvisioningContext:
    """One process's. ``webhooks`` are ours, as each number is to have them."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        cipher: SecretCipher,
        bus: EventBus,
        wall: WallClock,
        twilio_client: TwilioClient,
    ) -> None:
        self.credentials = TwilioCredentials(settings.platform_tokens, database, cipher)
        self.webhooks = gateway_webhooks(settings.public_url)
        self.database, self.wall, self.twilio_client = database, wall, twilio_client
        self._bus, self._request_slots = bus, asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    def account_client(self, credential: Credential) -> TwilioAccountClient:
        """The account at Twilio."""
        return self.twilio_client.account_client(credential.account_sid, credential.auth_token)

    async def check_ownership(self, actor: Actor) -> None:
        """Whether the actor may make numbers of the account that they would be in. Raises Forbidden.

        The platform's account has many clients' numbers: which of them is whose, is not for a tenant to say.
        """
        if actor.role != "platform":
            credential = await self.credentials.for_tenant(actor.tenant)
            if credential.has_rest_api and not credential.tenant_owned:
                raise Forbidden(NOT_OWNED_MESSAGE)

    def request_slot(self) -> asyncio.Semaphore:
        """A turn to ask Twilio while somebody waits for it. Raises TooMany."""
        if self._request_slots.locked():
            raise TooManyRequests("Twilio is being asked too much at present. Try again in a few seconds.", 5.0)
        return self._request_slots

    def publish(self, event_type: str, tenant: str, **data: Any) -> None:
        """Tell the tenant's watchers; it is about no call."""
        event = Event(tenant=tenant, call="", generation=0, seq=0, type=event_type, at=self.wall(), data=data)
        self._bus.publish(event)


def gateway_webhooks(public_url: str) -> Webhooks:
    """Where a number's calls, their status, and what goes wrong with them are to go."""
    return Webhooks(
        voice_url=f"{public_url}/twilio/voice",
        voice_fallback_url=f"{public_url}/twilio/fallback",
        status_callback=f"{public_url}/twilio/status",
    )
