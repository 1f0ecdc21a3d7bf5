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

__all__ = ["Client", "Http"]

CONNECTIONS = 20  # at once; who comes on top of them waits
AGAIN = frozenset({429, 500, 502, 503, 504})  # what is asked here twice is done once: it sets, it never adds
LONGEST_WAIT = 5.0  # seconds of Retry-After that are waited for here; longer is whoever asked's to decide
LONGEST_MESSAGE = 300  # characters of Twilio's

_LOG = logging.getLogger("vocelio.gateway.twilio.requests")
_LOG.setLevel(logging.WARNING)  # the SDK tells of every request and answer as if it were news


class Http(AsyncTwilioHttpClient):  # type: ignore[misc]
    """Sends requests to ``server`` (an origin) or to Twilio. A try has ``seconds``; ``pauses`` lie between tries."""

    def __init__(self, server: str, seconds: float, pauses: Sequence[float]) -> None:
        super().__init__(pool_connections=False, logger=_LOG)
        self.session = ClientSession(connector=TCPConnector(limit=CONNECTIONS), trust_env=not server)
        self._server, self._seconds, self._pauses = urlsplit(server), seconds, pauses

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
            headers = {**(headers or {}), "Authorization": _basic(*auth)}
        url = self._placed(url)
        for pause in (*self._pauses, None):
            error: TwilioError
            try:
                async with asyncio.timeout(self._seconds):  # the SDK switches the session's own limit off
                    response = await super().request(method, url, params, data, headers)
            except (ClientError, TimeoutError, OSError) as trouble:
                error = _unreachable(trouble)
            else:
                if response.status_code < 300:
                    return response
                error = _refusal(response)
            if pause is None or error.http not in {0, *AGAIN} or error.seconds > LONGEST_WAIT:
                raise error
            await asyncio.sleep(max(pause, error.seconds))
        raise AssertionError

    def _placed(self, url: str) -> str:
        if not self._server.netloc:
            return url
        return urlunsplit(urlsplit(url)._replace(scheme=self._server.scheme, netloc=self._server.netloc))


def _basic(account: str, token: str) -> str:
    return "Basic " + b64encode(f"{account}:{token}".encode()).decode()


def _unreachable(trouble: Exception) -> TwilioError:
    reason = "it took too long" if isinstance(trouble, TimeoutError) else type(trouble).__name__
    return TwilioError(f"Twilio's API does not answer: {reason}.")


def _refusal(response: Response) -> TwilioError:
    """Twilio says in JSON what is wrong; what stands between it and us may say anything."""
    http = response.status_code
    told = _told(response.text)
    code = told.get("code") if isinstance(told.get("code"), int) else 0
    if http == 401:
        message = f"Twilio refuses the account's credentials ({code or http}): its auth token is wrong, or was changed."
    else:
        said = "".join(filter(str.isprintable, str(told.get("message", "no reason given"))))[:LONGEST_MESSAGE]
        message = f"Twilio answered {http}: {said}" + (f" ({code})" if code else "")
    return TwilioError(message, http=http, code=code or 0, seconds=_seconds(response.headers))


def _told(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _seconds(headers: Any) -> float:
    """Retry-After in seconds; its form as a date is not used by Twilio."""
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else 0.0
