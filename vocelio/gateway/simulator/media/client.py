"""A stream's socket once it is open: fed frame by frame, read until somebody ends it, or it is noticed to be dead."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from vocelio.gateway.aio.tasks import first_completed
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.error_codes import DebuggerEntry
from vocelio.gateway.simulator.media import messages as wire_messages
from vocelio.gateway.simulator.media.playback_buffer import StreamBuffer
from vocelio.gateway.simulator.report.report import EndDetection, StreamReport

PINGS_PER_TIMEOUT = 4
"""In the time after which a silent server is taken for lost: one that loses a ping is not."""

MAX_UNSENT_BYTES = 64 * 1024
"""Unsent bytes (about 4 s of audio, beyond the kernel's buffers) at which the server counts as too slow."""

NORMAL_CLOSURE = 1000


class StreamClient:
    """One open stream. ``now`` tells seconds since the call was placed."""

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
        self._last_activity_at = self._opened_at  # of the server
        self._unsent: deque[str] = deque()  # bounded: at SLOW_BYTES no more audio is sent
        self._send_lock = asyncio.Lock()

    @property
    def is_lost(self) -> bool:
        """Whether the socket broke without a close frame of the server's."""
        return self._closed_by == "lost"

    async def open(self) -> None:
        """Send what comes before all audio."""
        await self._send(*self.buffer.opening_messages())

    async def run(self) -> None:
        """Take what the server sends, until it closes the socket, or the socket is noticed to be lost."""
        limit = self._behavior.detect_half_open_seconds
        await first_completed(self._receive(), *([] if limit is None else [self._watch_liveness(limit)]))
        self._detected_after_seconds = self._now() - self._last_activity_at
        if self._detected_by == "silence":  # there is nobody to close it with
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
        """Ping, until there has been no sign of the server for ``limit`` seconds: of ours, not of a clock's.

        A machine that stands still holds up the server's signs and whoever looks for them alike.
        """
        silent = 0
        while silent < PINGS_PER_TIMEOUT:
            before = self._last_activity_at
            await self._ping()
            await asyncio.sleep(timeout_seconds / PINGS_PER_TIMEOUT)
            silent = silent + 1 if self._last_activity_at == before else 0
        self._mark_lost("silence", error_codes.STREAM_LOST, f"the server has been silent for {timeout_seconds} s")

    async def _ping(self) -> None:
        if self._is_slow():  # the ping would wait, and we with it
            return
        try:
            asyncio.ensure_future(await self._connection.ping()).add_done_callback(self._on_pong)
        except ConnectionClosed:
            await asyncio.Event().wait()  # which is for the receiver to note

    def _on_pong(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._last_activity_at = self._now()

    async def send(self, marks: tuple[str, ...], payload: str, key: str = "") -> None:
        """Send the marks that are due and one frame of the caller's, its audio only if the server keeps up."""
        outgoing = self.buffer.writer
        slow = self._is_slow()
        if slow:
            self._add_error_once(error_codes.STREAM_SLOW, "the server reads too slowly, audio was dropped")
        # Formatted in the order in which they are sent: each takes the next sequence number.
        frame = () if slow else (outgoing.media(payload),)
        keys = (outgoing.dtmf(key),) if key else ()
        await self._send(*marks, *frame, *keys)

    async def hang_up(self) -> None:
        """The call has ended: say so and close. Nothing happens if the socket is closed already."""
        if self._closed_by == "caller":
            await self._send(self.buffer.writer.stop())
        await self._connection.close()

    def make_report(self, number: int, stream_sid: str) -> StreamReport:
        line, ms = self.buffer, 1000 / wire_messages.SAMPLE_RATE
        return StreamReport(
            number=number,
            stream_sid=stream_sid,
            opened_at=self._opened_at,
            closed_at=self._now(),
            closed_by=self._closed_by,
            close_code=self._close_code,
            received_ms=line.received_samples * ms,
            played_ms=line.played_samples * ms,
            cleared_ms=line.cleared_samples * ms,
            underruns=line.underruns,
            underrun_ms=line.underrun_samples * ms,
            detected_by=self._detected_by,
            detected_after_seconds=self._detected_after_seconds,
        )

    async def _send(self, *messages: str) -> None:
        """Send in the order of the sequence numbers, whoever else is sending.

        A socket that is closed is noticed by ``listen``; here what cannot be sent is lost, as on any line.
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
            self._mark_lost("breach", error_codes.STREAM_PROTOCOL, f"the server broke the protocol: {closed.sent}")
        else:
            self._mark_lost("break", error_codes.STREAM_LOST, "the socket broke without a close frame")

    def _mark_lost(self, detected_by: EndDetection, code: int, message: str) -> None:
        self._closed_by, self._detected_by = "lost", detected_by
        self._add_error_once(code, message)

    def _add_error_once(self, code: int, message: str) -> None:
        if all(fault.code != code for fault in self.buffer.errors):
            self.buffer.errors.append(DebuggerEntry(code, message, self._now()))
