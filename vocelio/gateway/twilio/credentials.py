"""By which Twilio account a tenant's numbers are reached: its own, if it has one, or else the platform's."""

from collections.abc import Mapping

import msgspec

from vocelio.gateway.config import SIMULATOR_ACCOUNT
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants


class Credential(msgspec.Struct, frozen=True):
    """An account and its auth token. ``own`` is whether it is the tenant's own."""

    account: str
    token: str
    own: bool

    def __repr__(self) -> str:
        return f"Credential({self.account!r}, own={self.own})"

    @property
    def has_rest(self) -> bool:
        """Whether there is a REST API behind it."""
        return self.account != SIMULATOR_ACCOUNT


class Credentials:
    """``tokens`` are the platform's, by account."""

    def __init__(self, tokens: Mapping[str, str], database: Database, vault: Vault) -> None:
        self._tokens, self._database, self._vault = tokens, database, vault

    @property
    def platform(self) -> Credential:
        """The platform's: the first, where there are several."""
        account, token = next(iter(self._tokens.items()), (SIMULATOR_ACCOUNT, ""))
        return Credential(account, token, own=False)

    async def of(self, tenant: str) -> Credential:
        """A tenant's. Raises StoreUnavailable, VaultError."""
        own = await tenants.own_account(self._database, self._vault, tenant)
        return Credential(own.account, own.token, own=True) if own else self.platform

    async def named(self, tenant: str, account: str) -> Credential | None:
        """An account by its name, if the tenant has it still or it is the platform's. Raises as ``of``."""
        if account in self._tokens:
            return Credential(account, self._tokens[account], own=False)
        credential = await self.of(tenant)
        return credential if credential.account == account else None
