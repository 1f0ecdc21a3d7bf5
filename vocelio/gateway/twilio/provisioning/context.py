"""Shared dependencies of number provisioning, and the Twilio account that serves a tenant."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from vocelio.gateway.clock import WallClock
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, Settings
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.errors import RateLimited
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import twilio_accounts
from vocelio.gateway.twilio.rest_client import TwilioAccountClient, TwilioClient
from vocelio.gateway.twilio.urls import PublicUrls

MAX_CONCURRENT_REQUESTS = 3  # API requests waiting for Twilio; further ones are rejected instead of kept waiting
NO_ACCOUNT_MESSAGE = (
    "No Twilio account is configured (TWILIO_ACCOUNT_SID, or the tenant's own). "
    "The simulator has no REST API, so numbers are not provisioned."
)


class Credential(msgspec.Struct, frozen=True):
    """A Twilio account and its auth token. ``tenant_owned`` is whether it is a tenant's own account."""

    account_sid: str
    auth_token: str
    tenant_owned: bool

    def __repr__(self) -> str:
        return f"Credential({self.account_sid!r}, tenant_owned={self.tenant_owned})"

    @property
    def has_rest_api(self) -> bool:
        """Whether the account has a REST API; the simulator's has none."""
        return self.account_sid != SIMULATOR_ACCOUNT_SID

    @property
    def claimed_account(self) -> str | None:
        """The account of claims under this credential: a tenant's own, or None for the platform's."""
        return self.account_sid if self.tenant_owned else None


class TwilioCredentials:
    """Looks up the account that serves a tenant: its own, or else the platform's."""

    def __init__(self, platform_tokens: Mapping[str, str], database: Database, cipher: SecretCipher) -> None:
        self._platform_tokens, self._database, self._cipher = platform_tokens, database, cipher

    @property
    def platform(self) -> Credential:
        """The platform's account; the first, if there are several."""
        account_sid, auth_token = next(iter(self._platform_tokens.items()), (SIMULATOR_ACCOUNT_SID, ""))
        return Credential(account_sid, auth_token, tenant_owned=False)

    def is_platform(self, account_sid: str) -> bool:
        """Whether it is the platform's account, or the simulator's, which is nobody's."""
        return account_sid in self._platform_tokens or account_sid == SIMULATOR_ACCOUNT_SID

    async def for_tenant(self, tenant: str) -> Credential:
        """Return a tenant's own account, or else the platform's. Raises DatabaseUnavailable, DecryptionError."""
        own = await twilio_accounts.get_twilio_account(self._database, self._cipher, tenant)
        return Credential(own.account_sid, own.auth_token, tenant_owned=True) if own else self.platform

    async def for_claim(self, tenant: str, account_sid: str | None) -> Credential | None:
        """Return the account under which a number is claimed (None: the platform's), None if it is gone.

        A number that is claimed under a tenant's own account is never managed with the platform's credentials. Raises
        as ``for_tenant``.
        """
        if account_sid is None:
            return self.platform
        if account_sid == SIMULATOR_ACCOUNT_SID:
            return None if self.platform.has_rest_api else self.platform
        credential = await self.for_tenant(tenant)
        return credential if credential.tenant_owned and credential.account_sid == account_sid else None

    async def for_account(self, tenant: str, account_sid: str) -> Credential | None:
        """Return an account by its SID, if it is the tenant's or the platform's. Raises as ``for_tenant``."""
        if account_sid in self._platform_tokens:
            return Credential(account_sid, self._platform_tokens[account_sid], tenant_owned=False)
        return await self.for_claim(tenant, account_sid)


class ProvisioningContext:
    """The dependencies of one process. ``webhooks`` are the gateway's own, which every assigned number is to have."""

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
        self.webhooks = PublicUrls(settings.public_url).number_webhooks()
        self.database, self.wall, self.twilio_client = database, wall, twilio_client
        self._bus, self._request_slots = bus, asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    def account_client(self, credential: Credential) -> TwilioAccountClient:
        """Return the REST client of an account."""
        return self.twilio_client.account_client(credential.account_sid, credential.auth_token)

    def request_slot(self) -> asyncio.Semaphore:
        """Return the limiter of API requests that wait for Twilio. Raises RateLimited when all slots are taken."""
        if self._request_slots.locked():
            raise RateLimited("Too many requests are waiting for Twilio. Try again in a few seconds.", 5.0)
        return self._request_slots

    def publish(self, event_type: str, tenant: str, **data: Any) -> None:
        """Publish an event about a number to the tenant's monitors."""
        event = Event(
            tenant=tenant, call="", generation=0, sequence=0, type=event_type, occurred_at=self.wall(), data=data
        )
        self._bus.publish(event)
