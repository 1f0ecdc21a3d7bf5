"""A stream's socket once it is open: fed frame by frame, read until somebody ends it, or it is noticed to be dead."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from vocelio.gateway.aio.first_completed import first
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.behavior import Switches
from vocelio.gateway.simulator.error_codes import Fault
from vocelio.gateway.simulator.media import messages as wire_messages
from vocelio.gateway.simulator.media.playback_buffer import Line
from vocelio.gateway.simulator.report.report import Noticed, StreamReport

PINGS = 4
"""In the time after which a silent server is taken for lost: one that loses a ping is not."""

SLOW_BYTES = 64 * 1024
"""Unsent bytes (about 4 s of audio, beyond the kernel's buffers) at which the server counts as too slow."""

NORMAL_CLOSURE = 1000


class Stream:
    """One open stream. ``now`` tells seconds since the call was placed."""

    def __init__(self, connection: ClientConnection, line: Line, now: Callable[[], float], switches: Switches) -> None:
        self.line = line
        self._connection = connection
        self._now = now
        self._opened = now()
        self._closed_by: Literal["server", "caller", "lost"] = "caller"
        self._close_code: int | None = None
        self._noticed: Noticed | None = None
        self._noticed_after: float | None = None
        self._switches = switches
        self._last_sign = self._opened  # of the server
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
        """Take what the server sends, until it closes the socket, or the socket is noticed to be lost."""
        limit = self._switches.notice_half_open
        await first(self._receive(), *([] if limit is None else [self._watch(limit)]))
        self._noticed_after = self._now() - self._last_sign
        if self._noticed == "silence":  # there is nobody to close it with
            self._connection.transport.abort()

    async def _receive(self) -> None:
        try:
            while True:
                message = await self._connection.recv()
                self._last_sign = self._now()
                returned = self.line.receive(message, self._last_sign)
                if returned:
                    await self._send(*returned)
        except ConnectionClosed as closed:
            self._last_sign = self._now()
            self._note(closed)
        if self.lost:
            await asyncio.sleep(self._switches.notice_loss)

    async def _watch(self, limit: float) -> None:
        """Ping, until there has been no sign of the server for ``limit`` seconds: of ours, not of a clock's.

        A machine that stands still holds up the server's signs and whoever looks for them alike.
        """
        silent = 0
        while silent < PINGS:
            before = self._last_sign
            await self._ping()
            await asyncio.sleep(limit / PINGS)
            silent = silent + 1 if self._last_sign == before else 0
        self._lose("silence", error_codes.STREAM_LOST, f"the server has been silent for {limit} s")

    async def _ping(self) -> None:
        if self._is_slow():  # the ping would wait, and we with it
            return
        try:
            asyncio.ensure_future(await self._connection.ping()).add_done_callback(self._hear)
        except ConnectionClosed:
            await asyncio.Event().wait()  # which is for the receiver to note

    def _hear(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._last_sign = self._now()

    async def send(self, returns: tuple[str, ...], payload: str, key: str = "") -> None:
        """Send the marks that are due and one frame of the caller's, its audio only if the server keeps up."""
        outgoing = self.line.outgoing
        slow = self._is_slow()
        if slow:
            self._fault_once(error_codes.STREAM_SLOW, "the server reads too slowly, audio was dropped")
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
        line, ms = self.line, 1000 / wire_messages.SAMPLE_RATE
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
            noticed=self._noticed,
            noticed_after=self._noticed_after,
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

    def _is_slow(self) -> bool:
        return self._connection.transport.get_write_buffer_size() > SLOW_BYTES

    def _note(self, closed: ConnectionClosed) -> None:
        if closed.rcvd is not None and closed.rcvd_then_sent:
            self._closed_by, self._close_code, self._noticed = "server", closed.rcvd.code, "close_frame"
            if closed.rcvd.code != NORMAL_CLOSURE:
                self._fault_once(error_codes.STREAM_CLOSED, f"the server closed the socket with {closed.rcvd}")
        elif closed.sent is not None:
            self._lose("breach", error_codes.STREAM_PROTOCOL, f"the server broke the protocol: {closed.sent}")
        else:
            self._lose("break", error_codes.STREAM_LOST, "the socket broke without a close frame")

    def _lose(self, noticed: Noticed, code: int, text: str) -> None:
        self._closed_by, self._noticed = "lost", noticed
        self._fault_once(code, text)

    def _fault_once(self, code: int, text: str) -> None:
        if all(fault.code != code for fault in self.line.faults):
            self.line.faults.append(Fault(code, text, self._now()))
