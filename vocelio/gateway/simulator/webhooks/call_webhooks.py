"""Webhooks of one call: requests TwiML documents, with the number's fallback URL on errors, and posts callbacks.

Callbacks never delay the call, and none outlives it; their responses are only checked for errors.
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
"""Maximum number of documents per call: far more than real calls need, but it stops two that redirect to each other."""

VerbResult = tuple[parser.Verb, ...] | Ending | None
"""Result of a verb: another document, the end of the call, or (None) the next verb."""


class CallWebhooks:
    """Requests webhooks of one call. ``call_fields`` are part of every request."""

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
        self._document_url = base_url  # of the current document, base of relative URLs
        self._fallback_url = fallback_url
        self._documents_left = MAX_DOCUMENTS
        self._callbacks: set[asyncio.Task[None]] = set()

    async def load_document(self, url: str, extra_fields: Mapping[str, str] | None = None) -> tuple[parser.Verb, ...]:
        """Fetch the document at ``url`` and make it the current one. Raises TwilioSimError."""
        url = urljoin(self._document_url, url)
        try:
            verbs = await self.fetch_twiml(url, extra_fields)
        except TwilioSimError as error:
            if self._fallback_url is None:
                raise
            self._call_log.add_error(error)
            error_fields = {**(extra_fields or {}), "ErrorCode": str(error.code), "ErrorUrl": url}
            url = urljoin(self._document_url, self._fallback_url)
            verbs = await self.fetch_twiml(url, error_fields)
        self._document_url = url
        return verbs

    async def fetch_twiml(self, url: str, extra_fields: Mapping[str, str] | None = None) -> tuple[parser.Verb, ...]:
        """Fetch a document without making it the current one, such as a whisper. Raises TwilioSimError."""
        self._documents_left -= 1
        if self._documents_left < 0:
            raise TwilioSimError(error_codes.TOO_MANY_REDIRECTS, f"more than {MAX_DOCUMENTS} documents in one call")
        return parser.parse((await self._request(url, extra_fields)).twiml_body())

    def post_callback(self, url: str, extra_fields: Mapping[str, str]) -> None:
        """Start a callback without waiting for it."""
        task = asyncio.create_task(self.send_callback(url, extra_fields))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def send_callback(self, url: str, extra_fields: Mapping[str, str]) -> None:
        """Send a callback; failures are only logged in the report."""
        try:
            response = await self._request(url, extra_fields)
            if not 200 <= response.status < 300:
                raise TwilioSimError(error_codes.HTTP_RETRIEVAL, f"a callback was answered with {response.status}")
        except TwilioSimError as error:
            self._call_log.add_error(error)

    async def wait_for_callbacks(self) -> None:
        """Wait for running callbacks; each takes at most Twilio's 15 s."""
        await asyncio.gather(*self._callbacks)

    async def aclose(self) -> None:
        """Cancel running callbacks."""
        for task in self._callbacks:
            task.cancel()
        await asyncio.gather(*self._callbacks, return_exceptions=True)

    async def _request(self, url: str, extra_fields: Mapping[str, str] | None) -> WebhookResponse:
        url = urljoin(self._document_url, url)
        started_at = self._call_log.now()
        status = 0
        try:
            response = await self._client.post(
                url, {**self._call_fields, "CallStatus": self.call_status, **(extra_fields or {})}
            )
            status = response.status
            return response
        finally:
            duration_ms = (self._call_log.now() - started_at) * 1000
            self._call_log.webhooks.append(WebhookReport(urlsplit(url).path, status, duration_ms))
