"""By which Twilio account a tenant's numbers are reached: its own, if it has one, or else the platform's."""

from collections.abc import Mapping

import msgspec

from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants


class Credential(msgspec.Struct, frozen=True):
    """An account and its auth token. ``own`` is whether it is the tenant's own."""

    account_sid: str
    auth_token: str
    tenant_owned: bool

    def __repr__(self) -> str:
        return f"Credential({self.account_sid!r}, own={self.tenant_owned})"

    @property
    def has_rest_api(self) -> bool:
        """Whether there is a REST API behind it."""
        return self.account_sid != SIMULATOR_ACCOUNT_SID


class TwilioCredentials:
    """``tokens`` are the platform's, by account."""

    def __init__(self, platform_tokens: Mapping[str, str], database: Database, cipher: SecretCipher) -> None:
        self._platform_tokens, self._database, self._cipher = platform_tokens, database, cipher

    @property
    def platform(self) -> Credential:
        """The platform's: the first, where there are several."""
        account, token = next(iter(self._platform_tokens.items()), (SIMULATOR_ACCOUNT_SID, ""))
        return Credential(account, token, tenant_owned=False)

    async def for_tenant(self, tenant: str) -> Credential:
        """A tenant's. Raises StoreUnavailable, VaultError."""
        own = await tenants.get_twilio_account(self._database, self._cipher, tenant)
        return Credential(own.account, own.token, tenant_owned=True) if own else self.platform

    async def for_account(self, tenant: str, account_sid: str) -> Credential | None:
        """An account by its name, if the tenant has it still or it is the platform's. Raises as ``of``."""
        if account_sid in self._platform_tokens:
            return Credential(account_sid, self._platform_tokens[account_sid], tenant_owned=False)
        credential = await self.for_tenant(tenant)
        return credential if credential.account_sid == account_sid else None
