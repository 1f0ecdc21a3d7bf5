"""HTTP transport of the twilio SDK, with timeouts and retries. ``rest_client`` loads it when it is first needed.

The SDK's own transport cannot use another origin than api.twilio.com (for the emulator), has no timeout and no
retries, and loses the status in errors of its pages. It also makes aiohttp warn, since it passes credentials in a
deprecated form; here they are a header.
"""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from aiohttp import ClientError, ClientSession, TCPConnector
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from vocelio.gateway.errors import TwilioError, TwilioUnavailable

__all__ = ["Client", "RetryingTwilioHttpClient"]

MAX_CONNECTIONS = 20  # further requests wait
RETRY_STATUSES = frozenset({429, 500, 502, 503, 504})  # all requests are idempotent: they set, never add
MAX_RETRY_AFTER_SECONDS = 5.0  # a longer Retry-After is left to the caller
MAX_MESSAGE_LENGTH = 300  # characters of Twilio's error message

_SDK_LOG = logging.getLogger("vocelio.gateway.twilio.requests")
_SDK_LOG.setLevel(logging.WARNING)  # the SDK logs every request and response as INFO


class RetryingTwilioHttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]
    """Sends requests to ``origin``, or to Twilio if it is empty.

    Each attempt takes at most ``timeout_seconds``; ``retry_delays_seconds`` are the pauses between attempts.
    """

    def __init__(self, origin: str, timeout_seconds: float, retry_delays_seconds: Sequence[float]) -> None:
        super().__init__(pool_connections=False, logger=_SDK_LOG)
        self.session = ClientSession(connector=TCPConnector(limit=MAX_CONNECTIONS), trust_env=not origin)
        self._origin, self._timeout_seconds, self._retry_delays_seconds = (
            urlsplit(origin),
            timeout_seconds,
            retry_delays_seconds,
        )

    async def request(
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the SDK's)
        allow_redirects: bool = False,
    ) -> Response:
        """Send a request, with retries. Raises TwilioError unless it succeeds."""
        if auth:
            headers = {**(headers or {}), "Authorization": _basic_auth(*auth)}
        url = self._replace_origin(url)
        for retry_delay_seconds in (*self._retry_delays_seconds, None):
            error: TwilioError
            try:
                async with asyncio.timeout(self._timeout_seconds):  # the SDK disables the session's timeout
                    response = await super().request(method, url, params, data, headers)
            except (ClientError, TimeoutError, OSError) as cause:
                error = _connection_error(cause)
            else:
                if response.status_code < 300:
                    return response
                error = _response_error(response)
            if (
                retry_delay_seconds is None
                or error.http_status not in {0, *RETRY_STATUSES}
                or error.retry_after_seconds > MAX_RETRY_AFTER_SECONDS
            ):
                raise error
            await asyncio.sleep(max(retry_delay_seconds, error.retry_after_seconds))
        raise AssertionError

    def _replace_origin(self, url: str) -> str:
        if not self._origin.netloc:
            return url
        return urlunsplit(urlsplit(url)._replace(scheme=self._origin.scheme, netloc=self._origin.netloc))


def _basic_auth(account_sid: str, auth_token: str) -> str:
    return "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()


def _connection_error(error: Exception) -> TwilioError:
    reason = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
    return TwilioUnavailable(f"Twilio's API does not answer: {reason}.")


def _response_error(response: Response) -> TwilioError:
    """Twilio describes errors in JSON; a proxy in between may answer anything."""
    status = response.status_code
    body = _decode_error_body(response.text)
    code = body.get("code") if isinstance(body.get("code"), int) else 0
    if status == 401:
        message = (
            f"Twilio rejects the account's credentials ({code or status}): the auth token is wrong or has changed."
        )
    else:
        reason = "".join(filter(str.isprintable, str(body.get("message", "no reason given"))))[:MAX_MESSAGE_LENGTH]
        message = f"Twilio answered {status}: {reason}" + (f" ({code})" if code else "")
    kind = TwilioUnavailable if status in RETRY_STATUSES else TwilioError
    return kind(message, http_status=status, code=code or 0, retry_after_seconds=_retry_after_seconds(response.headers))


def _decode_error_body(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _retry_after_seconds(headers: Any) -> float:
    """Parse Retry-After as seconds; Twilio does not use its date form."""
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else 0.0
