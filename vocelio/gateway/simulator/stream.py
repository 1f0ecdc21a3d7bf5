"""A stream's socket: opened as Twilio opens it, fed frame by frame, read until somebody ends it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from vocelio.gateway.simulator import faults, wire
from vocelio.gateway.simulator.faults import CarrierError, Fault
from vocelio.gateway.simulator.line import Line
from vocelio.gateway.simulator.report import StreamReport
from vocelio.gateway.simulator.signing import Signer

OPEN_SECONDS = 5.0
CLOSE_SECONDS = 1.0
"""How long the server may take to answer a close frame before the socket is dropped."""

MESSAGE_LIMIT = 1 << 20
"""Bytes of one message: more than two minutes of audio in base64."""

SLOW_BYTES = 64 * 1024
"""Unsent bytes (about 4 s of audio, beyond the kernel's buffers) at which the server counts as too slow."""

NORMAL_CLOSURE = 1000


class _Connect(connect):
    """Twilio does not follow redirects of an upgrade: anything but 101 is a failed handshake."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(server: str, url: str, signer: Signer) -> ClientConnection:
    """Open ``url`` (wss, as in the TwiML) at ``server``'s host and port. Raises CarrierError with Twilio's code."""
    at = urlsplit(server)
    try:
        return await _Connect(
            "ws" + url.removeprefix("wss"),
            host=at.hostname,
            port=at.port or 80,
            additional_headers=signer.upgrade(url),
            user_agent_header="Twilio.TmeWs/1.0",
            compression=None,
            proxy=None,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            max_size=MESSAGE_LIMIT,
            write_limit=2 * SLOW_BYTES,
        )
    except TimeoutError as error:
        raise CarrierError(faults.STREAM_TIMEOUT, "the upgrade was not answered in time") from error
    except InvalidHandshake as error:
        raise CarrierError(faults.STREAM_HANDSHAKE, f"the upgrade failed: {error}") from error
    except InvalidURI as error:
        raise CarrierError(faults.STREAM_URL, str(error)) from error
    except OSError as error:
        raise CarrierError(faults.STREAM_REFUSED, f"the connection was refused: {error}") from error


class Stream:
    """One open stream. ``now`` tells seconds since the call was placed."""

    def __init__(self, connection: ClientConnection, line: Line, now: Callable[[], float]) -> None:
        self.line = line
        self._connection = connection
        self._now = now
        self._opened = now()
        self._closed_by: Literal["server", "caller", "lost"] = "caller"
        self._close_code: int | None = None
        self._unsent: deque[str] = deque()  # bounded: at SLOW_BYTES no more audio is sent
        self._sending = asyncio.Lock()

    @property
    def lost(self) -> bool:
        """Whether the socket broke without a close frame of the server's."""
        return self._closed_by == "lost"

    async def open(self) -> None:
        """Send what comes before all audio."""
        await self._send(*self.line.opening())

    async def listen(self) -> None:
        """Take what the server sends, until it closes the socket or the socket breaks."""
        try:
            while True:
                message = await self._connection.recv()
                returned = self.line.receive(message, self._now())
                if returned:
                    await self._send(*returned)
        except ConnectionClosed as closed:
            self._note(closed)

    async def send(self, returns: tuple[str, ...], payload: str, key: str = "") -> None:
        """Send the marks that are due and one frame of the caller's, its audio only if the server keeps up."""
        outgoing = self.line.outgoing
        slow = self._connection.transport.get_write_buffer_size() > SLOW_BYTES
        if slow:
            self._fault_once(faults.STREAM_SLOW, "the server reads too slowly, audio was dropped")
        # Formatted in the order in which they are sent: each takes the next sequence number.
        frame = () if slow else (outgoing.media(payload),)
        keys = (outgoing.dtmf(key),) if key else ()
        await self._send(*returns, *frame, *keys)

    async def hang_up(self) -> None:
        """The call has ended: say so and close. Nothing happens if the socket is closed already."""
        if self._closed_by == "caller":
            await self._send(self.line.outgoing.stop())
        await self._connection.close()

    def report(self, number: int, stream_sid: str) -> StreamReport:
        line, ms = self.line, 1000 / wire.SAMPLE_RATE
        return StreamReport(
            number=number,
            stream_sid=stream_sid,
            opened=self._opened,
            closed=self._now(),
            closed_by=self._closed_by,
            close_code=self._close_code,
            received_ms=line.received * ms,
            played_ms=line.played * ms,
            cleared_ms=line.cleared * ms,
            underruns=line.underruns,
            underrun_ms=line.underrun * ms,
        )

    async def _send(self, *messages: str) -> None:
        """Send in the order of the sequence numbers, whoever else is sending.

        A socket that is closed is noticed by ``listen``; here what cannot be sent is lost, as on any line.
        """
        self._unsent.extend(messages)
        try:
            async with self._sending:
                while self._unsent:
                    await self._connection.send(self._unsent.popleft())
        except ConnectionClosed:
            return

    def _note(self, closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and closed.rcvd_then_sent:
            self._closed_by, self._close_code = "server", closed.rcvd.code
            if closed.rcvd.code != NORMAL_CLOSURE:
                self._fault_once(faults.STREAM_CLOSED, f"the server closed the socket with {closed.rcvd}")
        elif closed.sent is not None:
            self._closed_by = "lost"
            self._fault_once(faults.STREAM_PROTOCOL, f"the server broke the protocol: {closed.sent}")
        else:
            self._closed_by = "lost"
            self._fault_once(faults.STREAM_LOST, "the socket broke without a close frame")

    def _fault_once(self, code: int, text: str) -> None:
        if all(fault.code != code for fault in self.line.faults):
            self.line.faults.append(Fault(code, text, self._now()))
