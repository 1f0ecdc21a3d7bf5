"""MACs by keys that all processes share: what one of them has given out, any other knows again."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence


class HmacSigner:
    """For one ``purpose``: a text that was sealed for another does not fit.

    ``keys`` are secret texts, newest first: the first seals, all are known again. With none there is one of this
    process alone.
    """

    def __init__(self, keys: Sequence[str], purpose: str) -> None:
        texts = tuple(keys) or (secrets.token_hex(32),)
        self._keys = [hmac.digest(text.encode(), f"vocelio: {purpose}".encode(), hashlib.sha256) for text in texts]

    def sign(self, text: str) -> str:
        """43 characters that are good in an address."""
        return _mac(self._keys[0], text)

    def verify(self, text: str, mac: str) -> bool:
        """Whether that is the text's, by any of the keys. ``mac`` is ASCII; the time taken says nothing of it."""
        return any(hmac.compare_digest(mac, _mac(key, text)) for key in self._keys)


def _mac(key: bytes, text: str) -> str:
    return urlsafe_b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode().rstrip("=")
