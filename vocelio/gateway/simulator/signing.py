"""Signatures of requests (X-Twilio-Signature), computed by Twilio's own library.

A form is signed with the public URL that it is posted to, a WebSocket upgrade with the ``wss://`` URL as in the TwiML
and no parameters. The key is the account's auth token (HMAC-SHA1), or the secret of a shared key (HMAC-SHA256), which
is then named in a second header. The URL's fragment (connection overrides) is never sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urldefrag

from twilio.request_validator import (
    HMAC_SHA1,
    HMAC_SHA256,
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
)

HEADER = SIGNATURE_HEADER
SETTINGS_HEADER = SIGNATURE_SETTINGS_HEADER


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A shared key of the account; it signs all of the account's webhooks."""

    id: str
    secret: str = field(repr=False)


class Signer:
    """Signs requests of one account with the shared key if there is one, else with the auth token.

    ``sign_fragments`` and ``shared_key_signs_upgrades`` are unverified behavior; see ``behavior.TwilioBehavior``.
    """

    def __init__(
        self,
        auth_token: str,
        shared_key: SharedKey | None = None,
        *,
        sign_fragments: bool = False,
        shared_key_signs_upgrades: bool = True,
    ) -> None:
        self._auth_token = auth_token
        self._shared_key = shared_key
        self._sign_fragments = sign_fragments
        self._shared_key_signs_upgrades = shared_key_signs_upgrades

    def sign_form(self, url: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the signature headers of a form POST of ``fields`` to the public ``url``."""
        return self._sign(url if self._sign_fragments else urldefrag(url).url, fields, self._shared_key)

    def sign_upgrade(self, url: str) -> dict[str, str]:
        """Return the signature headers of an upgrade of ``url``, a ``wss://`` URL."""
        return self._sign(url, {}, self._shared_key if self._shared_key_signs_upgrades else None)

    def _sign(self, url: str, fields: Mapping[str, str], key: SharedKey | None) -> dict[str, str]:
        validator = RequestValidator(key.secret if key else self._auth_token)
        headers = {HEADER: validator.compute_signature(url, fields, HMAC_SHA256 if key else HMAC_SHA1)}
        return headers | ({SETTINGS_HEADER: f"key={key.id},algorithm={HMAC_SHA256}"} if key else {})
