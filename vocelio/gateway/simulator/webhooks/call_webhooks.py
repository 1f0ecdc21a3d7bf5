"""The TwiML of one call: asked for, checked and parsed, with the number's fallback when that fails.

Also the callbacks, whose answers nobody reads: they never delay the call and have ended when it has.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.report import Ending, WebhookReport
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.client import WebhookClient, WebhookResponse

MAX_DOCUMENTS = 200
"""TwiML documents that a call may ask for: far beyond any real one, and the end of two that redirect to each other."""

VerbResult = tuple[parser.Verb, ...] | Ending | None
"""What a verb comes to: another document, the end of the call, or the verb behind it."""


class CallWebhooks:
    """Asks in the name of one call. ``fields`` are those that every request of it carries."""

    def __init__(
        self,
        client: WebhookClient,
        call_log: CallLog,
        call_fields: Mapping[str, str],
        base_url: str,
        fallback_url: str | None,
    ) -> None:
        self.call_status = "ringing"
        self._client = client
        self._call_log = call_log
        self._call_fields = call_fields
        self._document_url = base_url  # the URL of the current document, which relative ones start from
        self._fallback_url = fallback_url
        self._documents_left = MAX_DOCUMENTS
        self._callbacks: set[asyncio.Task[None]] = set()

    async def load_document(self, url: str, extra_fields: Mapping[str, str] | None = None) -> tuple[parser.Verb, ...]:
        """The document at ``url``, which is from now on where the call is. Raises CarrierError."""
        url = urljoin(self._document_url, url)
        try:
            verbs = await self.fetch_twiml(url, extra_fields)
        except TwilioSimError as error:
            if self._fallback_url is None:
                raise
            self._call_log.add_error(error)
            failed = {**(extra_fields or {}), "ErrorCode": str(error.code), "ErrorUrl": url}
            url = urljoin(self._document_url, self._fallback_url)
            verbs = await self.fetch_twiml(url, failed)
        self._document_url = url
        return verbs

    async def fetch_twiml(self, url: str, extra_fields: Mapping[str, str] | None = None) -> tuple[parser.Verb, ...]:
        """A document on the side (a whisper): the call stays where it is. Raises CarrierError."""
        self._documents_left -= 1
        if self._documents_left < 0:
            raise TwilioSimError(error_codes.TOO_MANY_REDIRECTS, f"more than {MAX_DOCUMENTS} documents in one call")
        return parser.parse((await self._request(url, extra_fields)).twiml_body())

    def post_callback(self, url: str, extra_fields: Mapping[str, str]) -> None:
        """A callback, without waiting for it."""
        task = asyncio.create_task(self.send_callback(url, extra_fields))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def send_callback(self, url: str, extra_fields: Mapping[str, str]) -> None:
        """A callback; what goes wrong with it is a fault only."""
        try:
            answer = await self._request(url, extra_fields)
            if not 200 <= answer.status < 300:
                raise TwilioSimError(error_codes.HTTP_RETRIEVAL, f"a callback was answered with {answer.status}")
        except TwilioSimError as error:
            self._call_log.add_error(error)

    async def wait_for_callbacks(self) -> None:
        """Wait for the callbacks under way; each has Twilio's 15 s at most."""
        await asyncio.gather(*self._callbacks)

    async def aclose(self) -> None:
        """Give up the callbacks that are still under way."""
        for task in self._callbacks:
            task.cancel()
        await asyncio.gather(*self._callbacks, return_exceptions=True)

    async def _request(self, url: str, extra_fields: Mapping[str, str] | None) -> WebhookResponse:
        url = urljoin(self._document_url, url)
        began = self._call_log.now()
        status = 0
        try:
            answer = await self._client.post(
                url, {**self._call_fields, "CallStatus": self.call_status, **(extra_fields or {})}
            )
            status = answer.status
            return answer
        finally:
            ms = (self._call_log.now() - began) * 1000
            self._call_log.webhooks.append(WebhookReport(urlsplit(url).path, status, ms))
