"""The auth tokens of the tenants' own Twilio accounts, for checking signatures.

Asked for each request, so that a token that was changed counts at once. Should the database be away, the last known
one is believed: the calls that are live need their webhooks answered.
"""

import re

from cachetools import LRUCache

from vocelio.gateway.crypto.encryption import Vault, VaultError
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

ACCOUNT = re.compile(r"AC[0-9a-f]{32}")
SECONDS = 1.0  # for the database, of the three after which a caller should have heard something
REMEMBERED = 10_000


class Accounts:
    """The tenants' accounts."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault
        self._remembered: LRUCache[str, str] = LRUCache(REMEMBERED)

    async def token(self, account: str) -> str | None:
        """The account's auth token, if it is a tenant's. Raises StoreUnavailable, VaultError."""
        if not ACCOUNT.fullmatch(account):
            return None
        try:
            token = await self._database.in_time(tenants.token(self._database, self._vault, account), SECONDS)
        except (StoreUnavailable, VaultError):  # a key of VOCELIO_SECRET_KEY may be on its way to us
            if account not in self._remembered:
                raise
            return self._remembered[account]
        if token:  # strangers' accounts must not drive ours out of memory
            self._remembered[account] = token
        else:
            self._remembered.pop(account, None)
        return token
