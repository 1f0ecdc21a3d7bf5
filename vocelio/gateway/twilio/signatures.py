"""Shared keys: the newer way in which Twilio signs, HMAC-SHA256 with a key of its own instead of the auth token.

A rule in Twilio's webhook configuration says which URLs are signed so; such a request names its key and algorithm in
a header. Documented (twilio.com/docs/usage/webhooks/webhook-shared-keys, twilio.request_validator): the header's form,
that without it the auth token and HMAC-SHA1 count, and that only key and hash differ: the signed text is the same.

The documentation is silent on what follows, and this is what is assumed:

- UNKNOWN FIELDS of the header mean nothing to the signature. They are passed over: a signature that they did change
  would not match.
- HMAC_SHA1 with a shared key is nothing that anybody needs. It is refused.
- AN EMPTY HEADER, or one without an algorithm, is not "no header". Twilio's library would take the auth token and
  HMAC-SHA1 for it; here it is refused, so that nobody can talk the gateway down to the weaker way.
- A SOCKET'S UPGRADE may be signed in either way, since it is not said whether a rule covers ``wss`` URLs: its own
  headers decide, as for a webhook.

Twilio's signatures: proof that a webhook or a socket's upgrade comes from Twilio.

Made over the public URL as Twilio has it, never over what forwarded headers say. The key is the auth token of
the account that calls, or one of the platform's shared keys where the request says so (see ``shared_keys``); an
account that is not ours has no key, and nothing it sends is answered.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from twilio.request_validator import HMAC_SHA1, RequestValidator

SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"
ALGORITHM = "HMAC_SHA256"


class SharedKeys:
    """The secrets of the platform's shared keys, by the key's id. Never shown."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def secret(self, settings: str) -> str | None:
        """The secret that signs by this header; None for what is malformed, and for an unknown key or algorithm."""
        fields = _fields(settings)
        if fields.get("algorithm") != ALGORITHM:
            return None
        return self._secrets.get(fields.get("key", ""))


def _fields(settings: str) -> dict[str, str]:
    """``key=...,algorithm=...`` as a dictionary; empty if a part has no name, or a name comes twice."""
    fields: dict[str, str] = {}
    for part in settings.split(","):
        name, equals, value = part.partition("=")
        if not equals or name.strip() in fields:
            return {}
        fields[name.strip()] = value.strip()
    return fields


HEADER = "X-Twilio-Signature"
BODY_HASH = "bodySHA256"
"""The query's parameter that stands for a body that is not a form: its SHA-256 in hexadecimal."""

Tokens = Callable[[str], Awaitable[str | None]]
"""The auth token of an account, if it is a tenant's."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_DEFAULT_PORTS = MappingProxyType({"https": 443, "http": 80})


async def no_tokens(_: str) -> None:
    """Where no tenant has an account of its own."""
    return


class Signatures:
    """Checks against the tokens and shared keys of the platform's accounts, and the tokens of the tenants' own.

    ``signature`` and ``settings`` are a request's two headers as they came, HEADER and SETTINGS_HEADER; a request
    without the second one has ``None`` there, which an empty one is not.
    """

    def __init__(
        self,
        public_url: str,
        tokens: Mapping[str, str],
        tenants: Tokens = no_tokens,
        shared_keys: Mapping[str, str] = _NOTHING,
    ) -> None:
        self._origin = public_url.rstrip("/")
        self._tokens, self._tenants = dict(tokens), tenants
        self._shared_keys = SharedKeys(shared_keys)

    def is_platform(self, account: str) -> bool:
        """Whether the account is the platform's, which may call any tenant's number."""
        return account in self._tokens

    async def signs_form(
        self, account: str, path: str, form: Mapping[str, str], signature: str, settings: str | None = None
    ) -> bool:
        """Whether that is the signature of a form POST to ``path`` (with its query, if any)."""
        return await self._signs(account, _spellings(self.url(path)), form, signature, settings)

    async def signs_body(
        self, account: str, path: str, body: bytes, signature: str, settings: str | None = None
    ) -> bool:
        """Whether that is the signature of a JSON body: of the URL alone, whose query has the body's hash."""
        return _has_hash_of(body, path) and await self._signs(
            account, _spellings(self.url(path)), _NOTHING, signature, settings
        )

    async def signs_upgrade(self, account: str, path: str, signature: str, settings: str | None = None) -> bool:
        """Whether that is the signature of a WebSocket upgrade of ``path``: over the wss URL, no parameters.

        The validator's form with a port would add :80, so only the URL as it is counts, and that without its port.
        """
        url = self.stream_url(path)
        return await self._signs(account, {url, _without_port(url)}, _NOTHING, signature, settings)

    def stream_url(self, path: str) -> str:
        """The URL of the media socket, as TwiML names it."""
        return "wss://" + self._origin.partition("://")[2] + path

    def url(self, path: str) -> str:
        """The public URL of a path."""
        return self._origin + path

    async def _signs(
        self, account: str, urls: Iterable[str], form: Mapping[str, str], signature: str, settings: str | None
    ) -> bool:
        key = await self._token(account) if settings is None else self._shared_key(account, settings)
        if not key:
            return False
        algorithm = HMAC_SHA1 if settings is None else ALGORITHM
        validator = RequestValidator(key)
        expected = [validator.compute_signature(url, form, algorithm) for url in urls]
        # Not by its own comparison, which is not constant in time.
        return any(hmac.compare_digest(right.encode(), signature.encode()) for right in expected)

    async def _token(self, account: str) -> str | None:
        return self._tokens.get(account) or await self._tenants(account)

    def _shared_key(self, account: str, settings: str) -> str | None:
        """A shared key speaks for the platform's accounts only: a tenant's has none."""
        return self._shared_keys.secret(settings) if self.is_platform(account) else None


def _has_hash_of(body: bytes, path: str) -> bool:
    hashes = [value for name, value in parse_qsl(urlsplit(path).query) if name == BODY_HASH]
    return len(hashes) == 1 and hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), hashes[0].encode())


def _spellings(url: str) -> set[str]:
    """The URL with its port and without: Twilio signs either, as its own validator knows."""
    parts = urlsplit(url)
    if parts.port is not None:
        return {url, _without_port(url)}
    return {url, parts._replace(netloc=f"{parts.netloc}:{_DEFAULT_PORTS[parts.scheme]}").geturl()}


def _without_port(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.removesuffix(f":{parts.port}")).geturl()
