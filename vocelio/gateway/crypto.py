"""Encryption of secrets at rest, and signed tokens that expire; keys are derived from VOCELIO_SECRET_KEYS.

The newest key (the first) encrypts and signs, every key decrypts and verifies: to rotate keys, put a new one in front.
On start a process re-encrypts what older keys have encrypted (``store/tenants/secrets.py``); then the older keys can
be removed. A token that one process has issued is valid in every other; its value is readable by its holder, so never
sign a secret.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from itsdangerous import BadSignature, TimestampSigner

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


MAX_CLOCK_SKEW_SECONDS = 5  # between two processes: a token may come from that far in the future

_URL_SAFE = re.compile(r"[\w.-]+", re.ASCII)  # itsdangerous ignores other characters in a signature


class TokenSigner:
    """Sign and verify values for one ``purpose``; a token that was signed for another purpose is not valid.

    ``keys`` are secret texts, newest first: the first one signs, all verify. Without keys a random one is used, which
    only this process knows.
    """

    def __init__(self, keys: Sequence[str], purpose: str) -> None:
        self._keys = list(reversed(keys)) or [secrets.token_hex(32)]  # itsdangerous signs with the last one
        self._purpose = purpose

    def sign(self, value: str, now: int, bound_to: str = "") -> str:
        """Return a token issued ``now`` (microseconds UTC). The value consists of letters, digits, ``_``, ``-``, ``.``.

        ``bound_to`` is not part of the token, but has to be the same when the token is verified.
        """
        return self._signer(now // 1_000, bound_to).sign(value).decode()

    def verify(self, token: str, now: int, max_age_seconds: int, bound_to: str = "") -> str | None:
        """Return the token's value, or None if the token is invalid or older than ``max_age_seconds``."""
        if not _URL_SAFE.fullmatch(token):
            return None
        signer = self._signer(now // 1_000 + MAX_CLOCK_SKEW_SECONDS * 1_000, bound_to)
        try:
            return signer.unsign(token, max_age=(max_age_seconds + MAX_CLOCK_SKEW_SECONDS) * 1_000).decode()
        except BadSignature:
            return None

    def _signer(self, now_ms: int, bound_to: str) -> TimestampSigner:
        return _FixedTimeSigner(self._keys, f"vocelio: {self._purpose}\0{bound_to}", now_ms)


class _FixedTimeSigner(TimestampSigner):
    """An itsdangerous signer with a salt for one purpose and a fixed time; timestamps and ages are in milliseconds."""

    def __init__(self, keys: list[str], salt: str, now_ms: int) -> None:
        super().__init__(keys, salt, key_derivation="hmac", digest_method=hashlib.sha256)
        self._now_ms = now_ms

    def get_timestamp(self) -> int:
        return self._now_ms

    def timestamp_to_datetime(self, ts: int) -> datetime:
        return datetime.fromtimestamp(ts / 1_000, UTC)
