"""Client of one Media Streams socket: opens it as Twilio does, sends frames, and detects when the server is gone.

The upgrade request is signed, redirects are not followed, and every failure has Twilio's error code.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from vocelio.gateway.aio.tasks import first_completed
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.error_codes import DebuggerEntry, TwilioSimError
from vocelio.gateway.simulator.media import messages as wire_messages
from vocelio.gateway.simulator.media.playback_buffer import StreamBuffer
from vocelio.gateway.simulator.report import EndDetection, StreamReport
from vocelio.gateway.simulator.signing import Signer

PINGS_PER_TIMEOUT = 4
"""Pings within the liveness timeout: a server that loses one of them is not considered lost."""

MAX_UNSENT_BYTES = 64 * 1024
"""Unsent bytes (about 4 s of audio, beyond the kernel's buffers) at which the server counts as too slow."""

CLOSE_TIMEOUT_SECONDS = 1.0
"""Time for the server to answer a close frame before the socket is dropped."""

MAX_MESSAGE_BYTES = 1 << 20
"""Maximum size of one message: more than two minutes of audio in base64."""

MAX_WRITE_BUFFER_BYTES = 128 * 1024
"""Unsent bytes at which a send waits: twice MAX_UNSENT_BYTES."""

NORMAL_CLOSURE = 1000


class StreamClient:
    """One open stream. ``now`` returns seconds since the call was placed."""

    def __init__(
        self, connection: ClientConnection, buffer: StreamBuffer, now: Callable[[], float], behavior: TwilioBehavior
    ) -> None:
        self.buffer = buffer
        self._connection = connection
        self._now = now
        self._opened_at = now()
        self._closed_by: Literal["server", "caller", "lost"] = "caller"
        self._close_code: int | None = None
        self._detected_by: EndDetection | None = None
        self._detected_after_seconds: float | None = None
        self._behavior = behavior
        self._last_activity_at = self._opened_at  # by the server
        self._unsent: deque[str] = deque()  # bounded: above MAX_UNSENT_BYTES no more audio is sent
        self._send_lock = asyncio.Lock()

    @property
    def is_lost(self) -> bool:
        """Whether the socket ended without a close frame from the server."""
        return self._closed_by == "lost"

    async def open(self) -> None:
        """Send the messages that precede all audio (``connected`` and ``start``)."""
        await self._send(*self.buffer.opening_messages())

    async def run(self) -> None:
        """Receive until the server closes the socket or is detected to be gone."""
        timeout_seconds = self._behavior.detect_half_open_seconds
        await first_completed(
            self._receive(), *([] if timeout_seconds is None else [self._watch_liveness(timeout_seconds)])
        )
        self._detected_after_seconds = self._now() - self._last_activity_at
        if self._detected_by == "silence":  # no peer is left for a closing handshake
            self._connection.transport.abort()

    async def _receive(self) -> None:
        try:
            while True:
                message = await self._connection.recv()
                self._last_activity_at = self._now()
                returned = self.buffer.receive(message, self._last_activity_at)
                if returned:
                    await self._send(*returned)
        except ConnectionClosed as closed:
            self._last_activity_at = self._now()
            self._on_closed(closed)
        if self.is_lost:
            await asyncio.sleep(self._behavior.detect_loss_seconds)

    async def _watch_liveness(self, timeout_seconds: float) -> None:
        """Ping until the server has been silent for ``timeout_seconds``.

        Counted in intervals of this task rather than read from a clock: if the machine stalls, both the server and this
        task are delayed.
        """
        silent_intervals = 0
        while silent_intervals < PINGS_PER_TIMEOUT:
            before = self._last_activity_at
            await self._ping()
            await asyncio.sleep(timeout_seconds / PINGS_PER_TIMEOUT)
            silent_intervals = silent_intervals + 1 if self._last_activity_at == before else 0
        self._mark_lost("silence", error_codes.STREAM_LOST, f"the server has been silent for {timeout_seconds} s")

    async def _ping(self) -> None:
        if self._is_slow():  # the ping would wait for the write buffer
            return
        try:
            asyncio.ensure_future(await self._connection.ping()).add_done_callback(self._on_pong)
        except ConnectionClosed:
            await asyncio.Event().wait()  # `_receive` handles it

    def _on_pong(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._last_activity_at = self._now()

    async def send(self, marks: tuple[str, ...], payload: str, key: str = "") -> None:
        """Send due marks and one frame of the caller; drop its audio if the server reads too slowly."""
        writer = self.buffer.writer
        slow = self._is_slow()
        if slow:
            self._add_error_once(error_codes.STREAM_SLOW, "the server reads too slowly, audio was dropped")
        # Formatted in the order of sending: each message takes the next sequence number.
        frame = () if slow else (writer.media(payload),)
        keys = (writer.dtmf(key),) if key else ()
        await self._send(*marks, *frame, *keys)

    async def hang_up(self) -> None:
        """Send ``stop`` and close the socket, unless it is closed already."""
        if self._closed_by == "caller":
            await self._send(self.buffer.writer.stop())
        await self._connection.close()

    def make_report(self, number: int, stream_sid: str) -> StreamReport:
        buffer, ms_per_sample = self.buffer, 1000 / wire_messages.SAMPLE_RATE
        return StreamReport(
            number=number,
            stream_sid=stream_sid,
            opened_at=self._opened_at,
            closed_at=self._now(),
            closed_by=self._closed_by,
            close_code=self._close_code,
            received_ms=buffer.received_samples * ms_per_sample,
            played_ms=buffer.played_samples * ms_per_sample,
            cleared_ms=buffer.cleared_samples * ms_per_sample,
            underruns=buffer.underruns,
            underrun_ms=buffer.underrun_samples * ms_per_sample,
            detected_by=self._detected_by,
            detected_after_seconds=self._detected_after_seconds,
        )

    async def _send(self, *messages: str) -> None:
        """Send in the order of sequence numbers, also when several tasks send.

        `_receive` detects a closed socket; here messages that cannot be sent are dropped.
        """
        self._unsent.extend(messages)
        try:
            async with self._send_lock:
                while self._unsent:
                    await self._connection.send(self._unsent.popleft())
        except ConnectionClosed:
            return

    def _is_slow(self) -> bool:
        return self._connection.transport.get_write_buffer_size() > MAX_UNSENT_BYTES

    def _on_closed(self, closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and closed.rcvd_then_sent:
            self._closed_by, self._close_code, self._detected_by = "server", closed.rcvd.code, "close_frame"
            if closed.rcvd.code != NORMAL_CLOSURE:
                self._add_error_once(error_codes.STREAM_CLOSED, f"the server closed the socket with {closed.rcvd}")
        elif closed.sent is not None:
            self._mark_lost(
                "protocol_error", error_codes.STREAM_PROTOCOL, f"the server violated the protocol: {closed.sent}"
            )
        else:
            self._mark_lost("connection_lost", error_codes.STREAM_LOST, "the socket broke without a close frame")

    def _mark_lost(self, detected_by: EndDetection, code: int, message: str) -> None:
        self._closed_by, self._detected_by = "lost", detected_by
        self._add_error_once(code, message)

    def _add_error_once(self, code: int, message: str) -> None:
        if all(error.code != code for error in self.buffer.errors):
            self.buffer.errors.append(DebuggerEntry(code, message, self._now()))


class _ConnectWithoutRedirects(connect):
    """Twilio does not follow redirects of an upgrade: anything but 101 is a failed handshake."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(server_url: str, url: str, signer: Signer, timeout_seconds: float) -> ClientConnection:
    """Open ``url`` (wss, as in the TwiML) at the host and port of ``server_url``, with TLS if that is an https origin.

    Raises TwilioSimError with Twilio's code, also after ``timeout_seconds``.
    """
    server = urlsplit(server_url)
    secure = server.scheme == "https"
    try:
        return await _ConnectWithoutRedirects(
            url if secure else "ws" + url.removeprefix("wss"),
            host=server.hostname,
            port=server.port or (443 if secure else 80),
            additional_headers=signer.sign_upgrade(url),
            user_agent_header="Twilio.TmeWs/1.0",
            compression=None,
            proxy=None,
            open_timeout=timeout_seconds,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=MAX_WRITE_BUFFER_BYTES,
        )
    except TimeoutError as error:
        raise TwilioSimError(error_codes.STREAM_TIMEOUT, "the upgrade was not answered in time") from error
    except InvalidHandshake as error:
        raise TwilioSimError(error_codes.STREAM_HANDSHAKE, f"the upgrade failed: {error}") from error
    except InvalidURI as error:
        raise TwilioSimError(error_codes.STREAM_URL, str(error)) from error
    except ssl.SSLError as error:
        raise TwilioSimError(error_codes.STREAM_TLS, f"TLS failed: {error}") from error
    except OSError as error:
        raise TwilioSimError(error_codes.STREAM_REFUSED, f"the connection was refused: {error}") from error
