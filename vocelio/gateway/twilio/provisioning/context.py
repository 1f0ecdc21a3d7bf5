"""What everything needs that has to do with numbers at Twilio, in one place."""

import asyncio
from typing import Any

from vocelio.gateway.clock import WallClock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.errors import Forbidden, TooMany
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.credentials import Credential, Credentials
from vocelio.gateway.twilio.rest_client import Account, Rest

AT_ONCE = 3  # questions of the API's that wait for Twilio: whoever comes on top of them is sent away, not kept waiting
NO_REST = (
    "No Twilio account is set up (TWILIO_ACCOUNT_SID, or the tenant's own): "
    "the simulator's has no API, so nothing is set there."
)


CLAIM = (
    "Numbers of the platform's Twilio account are given to tenants with a platform key. "
    "A tenant with an account of its own (PUT /v1/tenant/twilio) makes its own."
)


class Desk:
    """One process's. ``webhooks`` are ours, as each number is to have them."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, bus: EventBus, wall: WallClock, rest: Rest
    ) -> None:
        self.credentials = Credentials(settings.tokens, database, vault)
        self.webhooks = webhooks(settings.public_url)
        self.database, self.wall, self.rest = database, wall, rest
        self._bus, self._turns = bus, asyncio.Semaphore(AT_ONCE)

    def account(self, credential: Credential) -> Account:
        """The account at Twilio."""
        return self.rest.account(credential.account, credential.token)

    async def check_claim(self, actor: Actor) -> None:
        """Whether the actor may make numbers of the account that they would be in. Raises Forbidden.

        The platform's account has many clients' numbers: which of them is whose, is not for a tenant to say.
        """
        if actor.role != "platform":
            credential = await self.credentials.of(actor.tenant)
            if credential.has_rest and not credential.own:
                raise Forbidden(CLAIM)

    def turn(self) -> asyncio.Semaphore:
        """A turn to ask Twilio while somebody waits for it. Raises TooMany."""
        if self._turns.locked():
            raise TooMany("Twilio is being asked too much at present. Try again in a few seconds.", 5.0)
        return self._turns

    def publish(self, kind: str, tenant: str, **data: Any) -> None:
        """Tell the tenant's watchers; it is about no call."""
        event = Event(tenant=tenant, call="", generation=0, seq=0, type=kind, at=self.wall(), data=data)
        self._bus.publish(event)


def webhooks(public_url: str) -> Webhooks:
    """Where a number's calls, their status, and what goes wrong with them are to go."""
    return Webhooks(
        voice_url=f"{public_url}/twilio/voice",
        voice_fallback_url=f"{public_url}/twilio/fallback",
        status_callback=f"{public_url}/twilio/status",
    )
