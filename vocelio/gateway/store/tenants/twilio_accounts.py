"""The auth tokens of the tenants' own Twilio accounts, for checking signatures.

Asked for each request, so that a token that was changed counts at once. Should the database be away, the last known
one is believed: the calls that are live need their webhooks answered.
"""

import re

from cachetools import LRUCache

from vocelio.gateway.crypto.encryption import DecryptionError, SecretCipher
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

ACCOUNT_SID_PATTERN = re.compile(r"AC[0-9a-f]{32}")
LOOKUP_TIMEOUT_SECONDS = 1.0  # for the database, of the three after which a caller should have heard something
MAX_CACHED_TOKENS = 10_000


class TwilioAccounts:
    """The tenants' accounts."""

    def __init__(self, database: Database, cipher: SecretCipher) -> None:
        self._database, self._cipher = database, cipher
        self._last_known_tokens: LRUCache[str, str] = LRUCache(MAX_CACHED_TOKENS)

    async def get_auth_token(self, account_sid: str) -> str | None:
        """The account's auth token, if it is a tenant's. Raises StoreUnavailable, VaultError."""
        if not ACCOUNT_SID_PATTERN.fullmatch(account_sid):
            return None
        try:
            token = await self._database.with_timeout(
                tenants.get_auth_token(self._database, self._cipher, account_sid), LOOKUP_TIMEOUT_SECONDS
            )
        except (DatabaseUnavailable, DecryptionError):  # a key of VOCELIO_SECRET_KEYS may be on its way to us
            if account_sid not in self._last_known_tokens:
                raise
            return self._last_known_tokens[account_sid]
        if token:  # strangers' accounts must not drive ours out of memory
            self._last_known_tokens[account_sid] = token
        else:
            self._last_known_tokens.pop(account_sid, None)
        return token
