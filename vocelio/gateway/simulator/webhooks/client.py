"""Webhooks as Twilio places them: signed form POSTs, 15 s in all, one retry when no connection came about.

The URL's fragment may say otherwise (see ``overrides``). All attempts have one idempotency token and one signature.

What is signed is the public URL; what is connected to is the server under test. Cookies, redirects of HTTP and
kept-alive connections are left out: no gateway should need them.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from vocelio.gateway.simulator import error_codes, sids
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.signing import Signer
from vocelio.gateway.simulator.webhooks.connection_overrides import ConnectionOverrides, parse_overrides

MAX_BODY_BYTES = 64 * 1024
"""Bytes of an answer: Twilio's limit for TwiML."""

TWIML_CONTENT_TYPES = frozenset({"text/xml", "application/xml", "text/html"})
"""The content types that Twilio parses as TwiML."""


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """What the server answered: status, content type without parameters, body."""

    status: int
    content_type: str
    body: bytes

    def twiml_body(self) -> bytes:
        """The body, if it may be TwiML. Raises CarrierError."""
        if not 200 <= self.status < 300:
            raise TwilioSimError(error_codes.HTTP_RETRIEVAL, f"the webhook answered {self.status}")
        if self.content_type not in TWIML_CONTENT_TYPES:
            raise TwilioSimError(error_codes.CONTENT_TYPE, f"the webhook answered with {self.content_type}")
        return self.body


class _NoResponse(TwilioSimError):
    """An attempt to which there was no answer; ``failure`` is what Twilio's policies of retries call it."""

    def __init__(self, failure: str, code: int, message: str) -> None:
        super().__init__(code, message)
        self.failure = failure


class WebhookClient:
    """Posts to one server, in the name of one account."""

    def __init__(self, server_url: str, signer: Signer, rng: random.Random) -> None:
        self._server_url = URL(server_url)
        self._signer = signer
        self._rng = rng
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close what is open; posting again opens it anew."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def post(self, url: str, fields: Mapping[str, str]) -> WebhookResponse:
        """Post ``fields`` to the public ``url``. Raises CarrierError when nobody answers."""
        how = parse_overrides(url)
        headers = self._headers(url, fields)
        try:
            async with asyncio.timeout(how.total_seconds):
                return await self._post_with_retries(self._target_url(url), fields, headers, how)
        except TimeoutError as error:
            raise TwilioSimError(error_codes.HTTP_RETRIEVAL, "the webhook did not answer in time") from error

    async def _post_with_retries(
        self, target: URL, fields: Mapping[str, str], headers: dict[str, str], overrides: ConnectionOverrides
    ) -> WebhookResponse:
        for left in range(overrides.max_retries, -1, -1):
            try:
                answer = await self._post_once(target, fields, headers, overrides)
            except _NoResponse as unanswered:
                if not left or not overrides.should_retry(unanswered.failure):
                    raise
            else:
                if not left or not overrides.should_retry(f"{answer.status // 100}xx"):
                    return answer
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
            raise TwilioSimError(error_codes.HTTP_RETRIEVAL, f"the webhook's answer is not HTTP: {error}") from error

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
        # Without a limit: a webhook must not wait for that of another call.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TwilioSimError(error_codes.BODY_TOO_LARGE, f"the answer is longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)
