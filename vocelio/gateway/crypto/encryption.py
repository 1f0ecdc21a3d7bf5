"""Secrets at rest: encrypted by a key that is made from VOCELIO_SECRET_KEY, bound to what they are for.

There may be several keys, newest first: the newest encrypts, all decrypt, so that a key is changed by putting a new
one in front. What the older ones encrypted is encrypted anew when a process starts (``store/renewal.py``); then they
can go.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from vocelio.gateway.errors import GatewayError

UNKNOWN_KEY_MESSAGE = "a secret was kept with a key that VOCELIO_SECRET_KEY does not have any more"


class DecryptionError(GatewayError):
    """What is kept cannot be read with the keys of VOCELIO_SECRET_KEY."""


class SecretCipher:
    """Encrypts and decrypts. ``keys`` are texts of any length, newest first."""

    def __init__(self, keys: Sequence[str]) -> None:
        every = [Fernet(_derive_key(key)) for key in keys]
        self._newest_key, self._all_keys = every[0], MultiFernet(every)

    def encrypt(self, plaintext: str, purpose: str) -> str:
        """Encrypted; it opens for the same purpose only: a row's secret is of no use in another row."""
        return self._all_keys.encrypt(f"{purpose}\0{plaintext}".encode()).decode()

    def decrypt(self, token: str, purpose: str) -> str:
        """The secret. Raises VaultError."""
        try:
            found, _, secret = self._all_keys.decrypt(token).decode().partition("\0")
        except InvalidToken:
            raise DecryptionError(UNKNOWN_KEY_MESSAGE) from None
        if not hmac.compare_digest(found.encode(), purpose.encode()):
            raise DecryptionError("a secret is not where it was put")
        return secret

    def rotate(self, token: str) -> str | None:
        """The same, encrypted with the newest key; None when it is so already. Raises VaultError."""
        try:
            self._newest_key.decrypt(token)
        except InvalidToken:
            pass
        else:
            return None
        try:
            return self._all_keys.rotate(token).decode()
        except InvalidToken:
            raise DecryptionError(UNKNOWN_KEY_MESSAGE) from None


def _derive_key(key: str) -> bytes:
    """A key of the right length for one use. The text is long and random, so a plain hash is enough."""
    return urlsafe_b64encode(hmac.digest(key.encode(), b"vocelio: secrets at rest", hashlib.sha256))
