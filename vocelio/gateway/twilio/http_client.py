"""The twilio SDK, with a way of sending of our own. Loaded by ``carrier/rest.py`` when it is first needed.

What the SDK's own way lacks: another origin than api.twilio.com (for the emulator), a limit of time, waiting and
trying again, and errors that are the same wherever they come from (its pages drop the status). And it makes aiohttp
warn, since it hands it credentials in a form that goes away; here they are a header.
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

from vocelio.gateway.errors import TwilioError

__all__ = ["Client", "RetryingTwilioHttpClient"]

MAX_CONNECTIONS = 20  # at once; who comes on top of them waits
RETRY_STATUSES = frozenset({429, 500, 502, 503, 504})  # what is asked here twice is done once: it sets, it never adds
MAX_RETRY_AFTER_SECONDS = 5.0  # seconds of Retry-After that are waited for here; longer is whoever asked's to decide
MAX_MESSAGE_LENGTH = 300  # characters of Twilio's

_SDK_LOG = logging.getLogger("vocelio.gateway.twilio.requests")
_SDK_LOG.setLevel(logging.WARNING)  # the SDK tells of every request and answer as if it were news


class RetryingTwilioHttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]
    """Sends requests to ``server`` (an origin) or to Twilio. A try has ``seconds``; ``pauses`` lie between tries."""

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
        """See AsyncTwilioHttpClient. Raises TwilioError for whatever is no success."""
        if auth:
            headers = {**(headers or {}), "Authorization": _basic_auth(*auth)}
        url = self._replace_origin(url)
        for pause in (*self._retry_delays_seconds, None):
            error: TwilioError
            try:
                async with asyncio.timeout(self._timeout_seconds):  # the SDK switches the session's own limit off
                    response = await super().request(method, url, params, data, headers)
            except (ClientError, TimeoutError, OSError) as trouble:
                error = _connection_error(trouble)
            else:
                if response.status_code < 300:
                    return response
                error = _response_error(response)
            if (
                pause is None
                or error.http_status not in {0, *RETRY_STATUSES}
                or error.retry_after_seconds > MAX_RETRY_AFTER_SECONDS
            ):
                raise error
            await asyncio.sleep(max(pause, error.retry_after_seconds))
        raise AssertionError

    def _replace_origin(self, url: str) -> str:
        if not self._origin.netloc:
            return url
        return urlunsplit(urlsplit(url)._replace(scheme=self._origin.scheme, netloc=self._origin.netloc))


def _basic_auth(account_sid: str, auth_token: str) -> str:
    return "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()


def _connection_error(error: Exception) -> TwilioError:
    reason = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
    return TwilioError(f"Twilio's API does not answer: {reason}.")


def _response_error(response: Response) -> TwilioError:
    """Twilio says in JSON what is wrong; what stands between it and us may say anything."""
    http = response.status_code
    told = _decode_error_body(response.text)
    code = told.get("code") if isinstance(told.get("code"), int) else 0
    if http == 401:
        message = f"Twilio refuses the account's credentials ({code or http}): its auth token is wrong, or was changed."
    else:
        said = "".join(filter(str.isprintable, str(told.get("message", "no reason given"))))[:MAX_MESSAGE_LENGTH]
        message = f"Twilio answered {http}: {said}" + (f" ({code})" if code else "")
    return TwilioError(
        message, http_status=http, code=code or 0, retry_after_seconds=_retry_after_seconds(response.headers)
    )


def _decode_error_body(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _retry_after_seconds(headers: Any) -> float:
    """Retry-After in seconds; its form as a date is not used by Twilio."""
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else 0.0
