"""The TwiML of one call: asked for, checked and parsed, with the number's fallback when that fails.

Also the callbacks, whose answers nobody reads: they never delay the call and have ended when it has.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.error_codes import CarrierError
from vocelio.gateway.simulator.report.report import Ending, Webhook
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.client import Answer, Poster

DOCUMENTS_LIMIT = 200
"""TwiML documents that a call may ask for: far beyond any real one, and the end of two that redirect to each other."""

Next = tuple[parser.Verb, ...] | Ending | None
"""What a verb comes to: another document, the end of the call, or the verb behind it."""


class Documents:
    """Asks in the name of one call. ``fields`` are those that every request of it carries."""

    def __init__(
        self, poster: Poster, record: Record, fields: Mapping[str, str], base: str, fallback: str | None
    ) -> None:
        self.status = "ringing"
        self._poster = poster
        self._record = record
        self._fields = fields
        self._base = base  # the URL of the current document, which relative ones start from
        self._fallback = fallback
        self._left = DOCUMENTS_LIMIT
        self._callbacks: set[asyncio.Task[None]] = set()

    async def fetch(self, url: str, more: Mapping[str, str] | None = None) -> tuple[parser.Verb, ...]:
        """The document at ``url``, which is from now on where the call is. Raises CarrierError."""
        url = urljoin(self._base, url)
        try:
            verbs = await self.ask(url, more)
        except CarrierError as error:
            if self._fallback is None:
                raise
            self._record.fault(error)
            failed = {**(more or {}), "ErrorCode": str(error.code), "ErrorUrl": url}
            url = urljoin(self._base, self._fallback)
            verbs = await self.ask(url, failed)
        self._base = url
        return verbs

    async def ask(self, url: str, more: Mapping[str, str] | None = None) -> tuple[parser.Verb, ...]:
        """A document on the side (a whisper): the call stays where it is. Raises CarrierError."""
        self._left -= 1
        if self._left < 0:
            raise CarrierError(error_codes.TOO_MANY_REDIRECTS, f"more than {DOCUMENTS_LIMIT} documents in one call")
        return parser.parse((await self._post(url, more)).twiml())

    def notify(self, url: str, more: Mapping[str, str]) -> None:
        """A callback, without waiting for it."""
        task = asyncio.create_task(self.callback(url, more))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def callback(self, url: str, more: Mapping[str, str]) -> None:
        """A callback; what goes wrong with it is a fault only."""
        try:
            answer = await self._post(url, more)
            if not 200 <= answer.status < 300:
                raise CarrierError(error_codes.HTTP_RETRIEVAL, f"a callback was answered with {answer.status}")
        except CarrierError as error:
            self._record.fault(error)

    async def finish(self) -> None:
        """Wait for the callbacks under way; each has Twilio's 15 s at most."""
        await asyncio.gather(*self._callbacks)

    async def aclose(self) -> None:
        """Give up the callbacks that are still under way."""
        for task in self._callbacks:
            task.cancel()
        await asyncio.gather(*self._callbacks, return_exceptions=True)

    async def _post(self, url: str, more: Mapping[str, str] | None) -> Answer:
        url = urljoin(self._base, url)
        began = self._record.now()
        status = 0
        try:
            answer = await self._poster.post(url, {**self._fields, "CallStatus": self.status, **(more or {})})
            status = answer.status
            return answer
        finally:
            ms = (self._record.now() - began) * 1000
            self._record.webhooks.append(Webhook(urlsplit(url).path, status, ms))
