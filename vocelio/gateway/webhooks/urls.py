"""URLs of the webhooks, and the query keys in which they carry state from one request to the next.

Twilio signs the whole URL, so the query can be trusted. It makes the webhooks stateless: any process can answer, and
answer the same when asked twice.
"""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlencode

from vocelio.gateway.twilio.urls import PublicUrls

GENERATION = "generation"
"""/twilio/continue: the call's generation when the stream was offered; /twilio/stream: that of the stream."""
STREAM_ATTEMPT = "stream_attempt"
"""/twilio/continue: how many streams in a row were offered without success."""
RETRY = "retry"
"""/twilio/continue, /twilio/dialed: how often the request was repeated because the database was unavailable."""
DIAL_ATTEMPT = "dial_attempt"
"""/twilio/dialed: the index of the attempt of the dial plan that has ended."""
TRANSFER = "transfer"
"""/twilio/dialed: the id of the transfer action."""
CALL = "call"
"""/twilio/whisper: the SID of the caller's call."""
WAITED_SECONDS = "waited_seconds"
"""/twilio/voice: seconds that the call has already waited in the queue."""
REMAINING_SECONDS = "remaining_seconds"
"""/twilio/overflow: seconds after which the call must leave the queue."""
MESSAGE = "message"
"""/twilio/overflow: the text to say in the queue."""

RetriedPath = Literal["/twilio/continue", "/twilio/dialed"]


class WebhookUrls:
    """The URLs that TwiML documents contain."""

    def __init__(self, urls: PublicUrls) -> None:
        self._urls = urls

    def media_stream(self, account_sid: str) -> str:
        """Return the URL of the media WebSocket."""
        return self._urls.stream_url(f"/twilio/media/{account_sid}")

    def continuation(self, generation: int, stream_attempt: int) -> str:
        """Return the URL that Twilio requests when the stream has ended."""
        return self._url("/twilio/continue", {GENERATION: generation, STREAM_ATTEMPT: stream_attempt})

    def stream_status(self, generation: int) -> str:
        """Return the status callback of a stream."""
        return self._url("/twilio/stream", {GENERATION: generation})

    def dial_completed(self, dial_attempt: int, transfer: str) -> str:
        """Return the URL that Twilio requests when an attempt of a transfer has ended."""
        return self._url("/twilio/dialed", {DIAL_ATTEMPT: dial_attempt, TRANSFER: transfer})

    def whisper(self, call: str) -> str:
        """Return the URL of the whisper for the callee."""
        return self._url("/twilio/whisper", {CALL: call})

    def queue_left(self, waited_seconds: int) -> str:
        """Return the URL that Twilio requests when a call has left the queue."""
        return self._url("/twilio/voice", {WAITED_SECONDS: waited_seconds})

    def queue_wait(self, remaining_seconds: int, message: str) -> str:
        """Return the URL that Twilio requests again and again while a call waits in the queue."""
        return self._url("/twilio/overflow", {REMAINING_SECONDS: remaining_seconds, MESSAGE: message})

    def retry(self, path: RetriedPath, query: Mapping[str, str], retry: int) -> str:
        """Return the URL that repeats a request."""
        return self._url(path, {**query, RETRY: retry})

    def _url(self, path: str, query: Mapping[str, str | int]) -> str:
        return self._urls.url(f"{path}?{urlencode(query)}")
