"""Encryption of secrets at rest, with keys derived from VOCELIO_SECRET_KEYS.

The newest key (the first) encrypts, every key decrypts: to rotate keys, put a new one in front. On start a process
re-encrypts what older keys have encrypted (``store/tenants/secrets.py``); then the older keys can be removed.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from vocelio.gateway.errors import GatewayError

UNKNOWN_KEY_MESSAGE = "a secret was encrypted with a key that is no longer in VOCELIO_SECRET_KEYS"


class DecryptionError(GatewayError):
    """A stored secret cannot be decrypted with the keys in VOCELIO_SECRET_KEYS."""


class SecretCipher:
    """Encrypts and decrypts secrets. ``keys`` are texts of any length, newest first."""

    def __init__(self, keys: Sequence[str]) -> None:
        ciphers = [Fernet(_derive_key(key)) for key in keys]
        self._newest_key, self._all_keys = ciphers[0], MultiFernet(ciphers)

    def encrypt(self, plaintext: str, purpose: str) -> str:
        """Encrypt a secret for one purpose, so that a token copied into another row cannot be decrypted there."""
        return self._all_keys.encrypt(f"{purpose}\0{plaintext}".encode()).decode()

    def decrypt(self, token: str, purpose: str) -> str:
        """Return the secret. Raises DecryptionError."""
        try:
            token_purpose, _, secret = self._all_keys.decrypt(token).decode().partition("\0")
        except InvalidToken:
            raise DecryptionError(UNKNOWN_KEY_MESSAGE) from None
        if not hmac.compare_digest(token_purpose.encode(), purpose.encode()):
            raise DecryptionError("a secret was encrypted for another purpose")
        return secret

    def rotate(self, token: str) -> str | None:
        """Re-encrypt with the newest key; return None if that key encrypted it already. Raises DecryptionError."""
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
    """Derive a Fernet key. The text is long and random, so one HMAC is enough; no password hash is needed."""
    return urlsafe_b64encode(hmac.digest(key.encode(), b"vocelio: secrets at rest", hashlib.sha256))
