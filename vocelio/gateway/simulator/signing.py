"""The signature that proves a request to be Twilio's: X-Twilio-Signature, by Twilio's own validator.

A form is signed with the public URL it is posted to, a WebSocket upgrade with the ``wss://`` URL as it stands in
the TwiML and no parameters. A fragment (which tunes a webhook) is never part of what is signed or sent.
"""

from collections.abc import Mapping
from urllib.parse import urldefrag

from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"


class Signer:
    """Signs with one account's auth token."""

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)

    def form(self, url: str, fields: Mapping[str, str]) -> dict[str, str]:
        """The header for a form POST of ``fields`` to the public ``url``."""
        return {HEADER: self._sign(urldefrag(url).url, fields)}

    def upgrade(self, url: str) -> dict[str, str]:
        """The header for the upgrade of ``url``, a ``wss://`` URL."""
        return {HEADER: self._sign(url, {})}

    def _sign(self, url: str, fields: Mapping[str, str]) -> str:
        signature: str = self._validator.compute_signature(url, dict(fields))
        return signature
