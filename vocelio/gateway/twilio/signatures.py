"""Twilio's request signatures: verify that a webhook or a WebSocket upgrade comes from Twilio.

The signature covers the public URL as configured at Twilio, never the URL of forwarded headers. The key is the auth
token of the calling account, or one of the platform's shared keys if the request names it. Requests of unknown
accounts are never accepted.

Shared keys are Twilio's newer signatures: HMAC-SHA256 with a separate key. A rule in Twilio's webhook configuration
selects the URLs that are signed so; such a request names its key and algorithm in a header. Documented
(twilio.com/docs/usage/webhooks/webhook-shared-keys, twilio.request_validator): the header's form, that without it the
auth token and HMAC-SHA1 apply, and that only key and hash differ: the signed text is the same.

The documentation does not say the following, so this is assumed:

- Unknown fields of the header do not affect the signature. They are ignored; a signature that they did change would
  not match.
- HMAC_SHA1 with a shared key is not needed, and rejected.
- An empty header, or one without an algorithm, is not a missing header. Twilio's library would use the auth token and
  HMAC-SHA1; here it is rejected, so that the weaker signature cannot be forced (downgrade attack).
- WebSocket upgrades may be signed in either way, since it is undocumented whether a rule covers ``wss`` URLs: the
  headers of the upgrade decide, as for a webhook.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from twilio.request_validator import HMAC_SHA1, RequestValidator

from vocelio.gateway.twilio.urls import PublicUrls

SIGNATURE_SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"
SHARED_KEY_ALGORITHM = "HMAC_SHA256"


class SharedKeys:
    """The secrets of the platform's shared keys, by key id; they never appear in a ``repr``."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def find_secret(self, settings_header: str) -> str | None:
        """Return the secret that a settings header names; None if the header, key or algorithm is invalid."""
        fields = _parse_settings(settings_header)
        if fields.get("algorithm") != SHARED_KEY_ALGORITHM:
            return None
        return self._secrets.get(fields.get("key", ""))


def _parse_settings(settings_header: str) -> dict[str, str]:
    """Parse ``key=...,algorithm=...``; empty if a part has no name, or a name occurs twice."""
    fields: dict[str, str] = {}
    for part in settings_header.split(","):
        name, equals, value = part.partition("=")
        if not equals or name.strip() in fields:
            return {}
        fields[name.strip()] = value.strip()
    return fields


SIGNATURE_HEADER = "X-Twilio-Signature"
BODY_HASH_PARAMETER = "bodySHA256"
"""The query parameter that represents a body that is not a form: its SHA-256 in hexadecimal."""

ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")

TokenLookup = Callable[[str], Awaitable[str | None]]
"""Returns the auth token of an account, if it is a tenant's."""

_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_PORTS = MappingProxyType({"https": 443, "http": 80})


async def no_tenant_tokens(_: str) -> None:
    """Look up nothing: no tenant has its own account."""
    return


class SignatureVerifier:
    """Verifies with the auth tokens and shared keys of the platform's accounts, and the tokens of tenants' accounts.

    ``signature`` and ``settings_header`` are the request's headers SIGNATURE_HEADER and SIGNATURE_SETTINGS_HEADER as
    received; None means that the second is missing, which differs from an empty one.
    """

    def __init__(
        self,
        urls: PublicUrls,
        platform_tokens: Mapping[str, str],
        tenant_tokens: TokenLookup = no_tenant_tokens,
        shared_keys: Mapping[str, str] = _NO_PARAMETERS,
    ) -> None:
        self._urls, self._platform_tokens, self._tenant_tokens = urls, dict(platform_tokens), tenant_tokens
        self._shared_keys = SharedKeys(shared_keys)

    def is_platform(self, account_sid: str) -> bool:
        """Whether the account is the platform's, which may serve any tenant's number."""
        return account_sid in self._platform_tokens

    async def verify_form(
        self, account_sid: str, path: str, form: Mapping[str, str], signature: str, settings_header: str | None = None
    ) -> bool:
        """Verify a form POST to ``path`` (with its query, if any)."""
        return await self._verify(account_sid, _url_variants(self._urls.url(path)), form, signature, settings_header)

    async def verify_body(
        self, account_sid: str, path: str, body: bytes, signature: str, settings_header: str | None = None
    ) -> bool:
        """Verify a JSON body: the signature covers the URL alone, whose query has the body's hash."""
        return _body_hash_matches(body, path) and await self._verify(
            account_sid, _url_variants(self._urls.url(path)), _NO_PARAMETERS, signature, settings_header
        )

    async def verify_upgrade(
        self, account_sid: str, path: str, signature: str, settings_header: str | None = None
    ) -> bool:
        """Verify a WebSocket upgrade of ``path``: the signature covers the wss URL without parameters.

        The validator's variant with a port would add :80, so only the URL itself and the URL without its port are
        accepted.
        """
        url = self._urls.stream_url(path)
        return await self._verify(account_sid, {url, _without_port(url)}, _NO_PARAMETERS, signature, settings_header)

    async def _verify(
        self,
        account_sid: str,
        urls: Iterable[str],
        form: Mapping[str, str],
        signature: str,
        settings_header: str | None,
    ) -> bool:
        key = (
            await self._auth_token(account_sid)
            if settings_header is None
            else self._shared_key(account_sid, settings_header)
        )
        if not key:
            return False
        algorithm = HMAC_SHA1 if settings_header is None else SHARED_KEY_ALGORITHM
        validator = RequestValidator(key)
        expected = [validator.compute_signature(url, form, algorithm) for url in urls]
        # The validator's own comparison does not take constant time.
        return any(hmac.compare_digest(each.encode(), signature.encode()) for each in expected)

    async def _auth_token(self, account_sid: str) -> str | None:
        if not ACCOUNT_SID.fullmatch(account_sid):  # not even signed: nothing of it may reach the database
            return None
        return self._platform_tokens.get(account_sid) or await self._tenant_tokens(account_sid)

    def _shared_key(self, account_sid: str, settings_header: str) -> str | None:
        """Return the named shared key; only the platform's accounts have any."""
        return self._shared_keys.find_secret(settings_header) if self.is_platform(account_sid) else None


def _body_hash_matches(body: bytes, path: str) -> bool:
    hashes = [value for name, value in parse_qsl(urlsplit(path).query) if name == BODY_HASH_PARAMETER]
    return len(hashes) == 1 and hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), hashes[0].encode())


def _url_variants(url: str) -> set[str]:
    """Return the URL with and without its port: Twilio may sign either, as in its own validator."""
    parts = urlsplit(url)
    if parts.port is not None:
        return {url, _without_port(url)}
    return {url, parts._replace(netloc=f"{parts.netloc}:{_DEFAULT_PORTS[parts.scheme]}").geturl()}


def _without_port(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.removesuffix(f":{parts.port}")).geturl()
