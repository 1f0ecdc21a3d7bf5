"""Signed tokens that expire: itsdangerous, with keys that all processes share and the time given by the caller.

A token that one process has issued is valid in every other. Its value is readable by its holder: never sign a secret.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from itsdangerous import BadSignature, TimestampSigner

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
