"""Twilio's signatures: proof that a webhook or a socket's upgrade comes from Twilio.

Made over the public URL as Twilio has it, never over what forwarded headers say. The key is the auth token of
the account that calls; an account that is not ours has no key, and nothing it sends is answered.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping

from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"

Tokens = Callable[[str], Awaitable[str | None]]
"""The auth token of an account, if it is a tenant's."""


async def no_tokens(_: str) -> None:
    """Where no tenant has an account of its own."""
    return


class Signatures:
    """Checks against the tokens of the platform's accounts, and of the tenants' own."""

    def __init__(self, public_url: str, tokens: Mapping[str, str], tenants: Tokens = no_tokens) -> None:
        self._origin = public_url.rstrip("/")
        self._tokens, self._tenants = dict(tokens), tenants

    def is_platform(self, account: str) -> bool:
        """Whether the account is the platform's, which may call any tenant's number."""
        return account in self._tokens

    async def signs_form(self, account: str, path: str, form: Mapping[str, str], signature: str) -> bool:
        """Whether ``signature`` is that of a form POST to ``path`` (with its query, if any)."""
        validator = await self._validator(account)
        return validator is not None and bool(validator.validate(self._origin + path, form, signature))

    async def signs_upgrade(self, account: str, path: str, signature: str) -> bool:
        """Whether ``signature`` is that of a WebSocket upgrade of ``path``: over the wss URL, no parameters.

        The validator's form with a port would add :80, so only the URL as it is counts.
        """
        validator = await self._validator(account)
        if validator is None:
            return False
        expected = validator.compute_signature(self.stream_url(path), {})
        return hmac.compare_digest(expected.encode(), signature.encode())

    async def _validator(self, account: str) -> RequestValidator | None:
        token = self._tokens.get(account) or await self._tenants(account)
        return RequestValidator(token) if token else None

    def stream_url(self, path: str) -> str:
        """The URL of the media socket, as TwiML names it."""
        return "wss://" + self._origin.partition("://")[2] + path

    def url(self, path: str) -> str:
        """The public URL of a path."""
        return self._origin + path
