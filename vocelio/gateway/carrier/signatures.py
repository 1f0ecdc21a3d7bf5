"""Twilio's signatures: proof that a webhook or a socket's upgrade comes from Twilio.

Made over the public URL as Twilio has it, never over what forwarded headers say. The key is the auth token of
the account that calls; an account that is not ours has no key, and nothing it sends is answered.
"""

import hmac
from collections.abc import Mapping

from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"


class Signatures:
    """Checks against the tokens of our accounts."""

    def __init__(self, public_url: str, tokens: Mapping[str, str]) -> None:
        self._origin = public_url.rstrip("/")
        self._validators = {account: RequestValidator(token) for account, token in tokens.items()}

    def signs_form(self, account: str, path: str, form: Mapping[str, str], signature: str) -> bool:
        """Whether ``signature`` is that of a form POST to ``path`` (with its query, if any)."""
        validator = self._validators.get(account)
        return validator is not None and bool(validator.validate(self._origin + path, form, signature))

    def signs_upgrade(self, account: str, path: str, signature: str) -> bool:
        """Whether ``signature`` is that of a WebSocket upgrade of ``path``: over the wss URL, no parameters.

        The validator's form with a port would add :80, so only the URL as it is counts.
        """
        validator = self._validators.get(account)
        if validator is None:
            return False
        expected = validator.compute_signature(self.stream_url(path), {})
        return hmac.compare_digest(expected.encode(), signature.encode())

    def stream_url(self, path: str) -> str:
        """The URL of the media socket, as TwiML names it."""
        return "wss://" + self._origin.partition("://")[2] + path

    def url(self, path: str) -> str:
        """The public URL of a path."""
        return self._origin + path
