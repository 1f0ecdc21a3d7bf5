"""Client for webhooks as Twilio requests them: signed form POSTs, 15 s in total, one retry after a failed connect.

Twilio's connection overrides in the URL's fragment (``#ct=500&rc=3``) change these limits. Their names and bounds are
Twilio's (twilio.com/docs/usage/webhooks/webhooks-connection-overrides): an invalid value is ignored, except that of
``rp``, which Twilio answers with error 11243. All attempts of a webhook share one idempotency token and one signature.

The public URL is signed, but the connection goes to the server under test. Cookies, redirects and keep-alive are not
supported: no gateway should need them.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urldefrag, urlsplit

import aiohttp
from yarl import URL

from vocelio.gateway.simulator import error_codes, sids
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.signing import Signer

MAX_BODY_BYTES = 64 * 1024
"""Twilio's limit for a TwiML document."""

TWIML_CONTENT_TYPES = frozenset({"text/xml", "application/xml", "text/html"})
"""The content types that Twilio parses as TwiML."""


CONNECT_LIMITS_MS: Final = (100, 5_000, 10_000)
READ_LIMITS_MS: Final = (100, 15_000, 15_000)
TOTAL_LIMITS_MS: Final = (100, 15_000, 15_000)
RETRY_LIMITS: Final = (0, 1, 5)
"""Minimum, default and maximum of ``ct``, ``rt``, ``tt`` and ``rc``; values are clamped."""

RETRY_POLICIES: Final = frozenset({"ct", "rt", "4xx", "5xx", "all"})
"""Failures that can be retried: no connection, read timeout, a response with such a status, or all of these."""

DEFAULT_RETRY_POLICIES: Final = frozenset({"ct"})


@dataclass(frozen=True, slots=True)
class ConnectionOverrides:
    """Timeouts of connecting, of one read, and of all attempts together, and which failures are retried."""

    connect_seconds: float
    read_seconds: float
    total_seconds: float
    max_retries: int
    retry_policies: frozenset[str]

    def should_retry(self, failure: str) -> bool:
        """Return whether to retry after a failure: ``ct``, ``rt`` or the class of a status, such as ``5xx``."""
        return failure in self.retry_policies or ("all" in self.retry_policies and failure in RETRY_POLICIES)


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """Response to a webhook; ``content_type`` has no parameters."""

    status: int
    content_type: str
    body: bytes

    def twiml_body(self) -> bytes:
        """Return the body if status and content type allow TwiML, else raise TwilioSimError."""
        if not 200 <= self.status < 300:
            raise TwilioSimError(error_codes.HTTP_RETRIEVAL, f"the webhook answered {self.status}")
        if self.content_type not in TWIML_CONTENT_TYPES:
            raise TwilioSimError(error_codes.CONTENT_TYPE, f"the webhook answered with {self.content_type}")
        return self.body


class _NoResponse(TwilioSimError):
    """An attempt without a response; ``failure`` is its name in Twilio's retry policies."""

    def __init__(self, failure: str, code: int, message: str) -> None:
        super().__init__(code, message)
        self.failure = failure


class WebhookClient:
    """Posts webhooks of one account to one server."""

    def __init__(self, server_url: str, signer: Signer, rng: random.Random) -> None:
        self._server_url = URL(server_url)
        self._signer = signer
        self._rng = rng
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the session; another post opens a new one."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def post(self, url: str, fields: Mapping[str, str]) -> WebhookResponse:
        """Post ``fields`` to the public ``url``. Raises TwilioSimError if there is no response."""
        overrides = parse_overrides(url)
        headers = self._headers(url, fields)
        try:
            async with asyncio.timeout(overrides.total_seconds):
                return await self._post_with_retries(self._target_url(url), fields, headers, overrides)
        except TimeoutError as error:
            raise TwilioSimError(error_codes.HTTP_RETRIEVAL, "the webhook did not answer in time") from error

    async def _post_with_retries(
        self, target: URL, fields: Mapping[str, str], headers: dict[str, str], overrides: ConnectionOverrides
    ) -> WebhookResponse:
        for retries_left in range(overrides.max_retries, -1, -1):
            try:
                response = await self._post_once(target, fields, headers, overrides)
            except _NoResponse as error:
                if not retries_left or not overrides.should_retry(error.failure):
                    raise
            else:
                if not retries_left or not overrides.should_retry(f"{response.status // 100}xx"):
                    return response
        raise AssertionError("the last attempt returns or raises")

    async def _post_once(
        self, target: URL, fields: Mapping[str, str], headers: dict[str, str], overrides: ConnectionOverrides
    ) -> WebhookResponse:
        session = self._session or self._open_session()
        limits = aiohttp.ClientTimeout(
            total=overrides.total_seconds, connect=overrides.connect_seconds, sock_read=overrides.read_seconds
        )
        try:
            async with session.post(
                target, data=dict(fields), headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                return WebhookResponse(response.status, response.content_type, await _read_body(response))
        except aiohttp.SocketTimeoutError as error:
            raise _NoResponse("rt", error_codes.HTTP_RETRIEVAL, "the webhook did not answer in time") from error
        except aiohttp.ClientConnectionError as error:
            raise _NoResponse("ct", error_codes.HTTP_CONNECTION, f"no connection to the webhook: {error}") from error
        except aiohttp.ClientError as error:
            raise TwilioSimError(error_codes.HTTP_RETRIEVAL, f"the webhook's response is not HTTP: {error}") from error

    def _headers(self, url: str, fields: Mapping[str, str]) -> dict[str, str]:
        return {
            **self._signer.sign_form(url, fields),
            "Host": urlsplit(url).netloc,
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": sids.new_idempotency_token(self._rng),
        }

    def _target_url(self, url: str) -> URL:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self._server_url.join(URL(path, encoded=True))

    def _open_session(self) -> aiohttp.ClientSession:
        # No limit: a webhook must not wait for one of another call.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TwilioSimError(error_codes.BODY_TOO_LARGE, f"the response is longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def parse_overrides(url: str) -> ConnectionOverrides:
    """Parse the overrides in the URL's fragment. Raises TwilioSimError for an unknown retry policy."""
    fragment = parse_qs(urldefrag(url).fragment)
    policy = frozenset(fragment["rp"][0].split(",")) if "rp" in fragment else DEFAULT_RETRY_POLICIES
    if policy - RETRY_POLICIES:
        raise TwilioSimError(
            error_codes.RETRY_POLICY, f"{', '.join(sorted(policy - RETRY_POLICIES))} is not a retry policy"
        )
    return ConnectionOverrides(
        connect_seconds=_parse_number(fragment, "ct", CONNECT_LIMITS_MS) / 1000,
        read_seconds=_parse_number(fragment, "rt", READ_LIMITS_MS) / 1000,
        total_seconds=_parse_number(fragment, "tt", TOTAL_LIMITS_MS) / 1000,
        max_retries=_parse_number(fragment, "rc", RETRY_LIMITS),
        retry_policies=policy,
    )


def _parse_number(fragment: Mapping[str, list[str]], name: str, limits: tuple[int, int, int]) -> int:
    minimum, default, maximum = limits
    value = fragment.get(name, [""])[0]
    return max(minimum, min(maximum, int(value[:9]))) if value.isascii() and value.isdigit() else default
