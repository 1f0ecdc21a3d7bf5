"""The far end of a media socket, sans-IO: what Twilio does with the messages it is sent.

Audio is buffered and played in order, one 20 ms frame each time ``play`` is called; the caller of ``play`` keeps the
clock. A mark is returned with the first frame that begins after the audio before the mark has been played, so never
early and at most 20 ms late, or at once when nothing is playing or ``clear`` empties the buffer. Nothing that the
server sends raises: what cannot be used becomes a fault.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import DebuggerEntry
from vocelio.gateway.simulator.media import messages
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE, SILENT_FRAME
from vocelio.gateway.simulator.report import ClearReport, MarkReport

MAX_BUFFER_SAMPLES = 600 * SAMPLE_RATE
"""Samples: ten minutes. Twilio's own limit is not documented; what comes beyond it is dropped, with a fault."""

MAX_MARKS = 10_000
"""Marks waiting, and marks remembered for the report: more are dropped, with a fault, or forgotten."""

MAX_ERRORS = 20
"""Faults kept of one stream: one that repeats itself on every frame tells nothing new."""

MIN_BURST_GAP_SAMPLES = SAMPLE_RATE // 2
"""Silence that separates two utterances of the server's even when it sent no mark between them."""


class PlayedFrame(NamedTuple):
    """20 ms of what the caller hears, the marks to return before it, and whether ``clear`` came since the last."""

    audio: bytes
    marks: tuple[str, ...]
    cleared: bool


@dataclass(frozen=True, slots=True)
class _PendingMark:
    position: int
    name: str
    received_at: float


class StreamBuffer:
    """One stream's buffer at Twilio, and the numbered messages it answers with."""

    def __init__(self, stream_sid: str, writer: messages.MessageWriter) -> None:
        self.writer = writer
        self.media_messages = 0
        self.received_samples = 0  # samples, as are the next three
        self.played_samples = 0
        self.cleared_samples = 0
        self.underrun_samples = 0
        self.underruns = 0
        self.clears: list[ClearReport] = []
        self.returned_marks: deque[MarkReport] = deque(maxlen=MAX_MARKS)
        self.errors: list[DebuggerEntry] = []
        self._stream_sid = stream_sid
        self._buffer = bytearray()
        self._pending_marks: deque[_PendingMark] = deque()
        self._last_mark_position = 0  # the position of the latest mark
        self._silent_samples: int | None = None  # silent samples since the burst under way ran out of audio
        self._audible_until = 0.0  # the end of the frame under way, if it has audio
        self._was_cleared = False

    def opening_messages(self) -> tuple[str, str]:
        """What Twilio sends first."""
        return self.writer.connected(), self.writer.start()

    def receive(self, message: str | bytes, at: float) -> tuple[str, ...]:
        """Take a message of the server's at ``at`` seconds; what is returned is to be sent at once."""
        if isinstance(message, bytes):
            return self._add_error_once(error_codes.STREAM_BINARY, "a binary message", at)
        try:
            incoming = messages.decode(message)
        except (msgspec.MsgspecError, RecursionError) as error:
            return self._add_error_once(error_codes.STREAM_MALFORMED, f"a malformed message: {error}", at)
        return self._on_message(incoming, at)

    def play(self, at: float) -> PlayedFrame:
        """The next 20 ms, which the caller hears from ``at`` seconds on."""
        returns = self._return_due_marks(at)
        frame = bytes(self._buffer[:FRAME_SAMPLES]) or SILENT_FRAME
        taken = min(len(self._buffer), FRAME_SAMPLES)
        if taken:
            del self._buffer[:FRAME_SAMPLES]
            self.played_samples += taken
            self._audible_until = at + FRAME_SECONDS
            frame += SILENT_FRAME[taken:]
        self._count_underruns(taken)
        cut, self._was_cleared = self._was_cleared, False
        return PlayedFrame(frame, returns, cut)

    def _on_message(self, incoming: messages.IncomingMessage, at: float) -> tuple[str, ...]:
        event = incoming.event
        if event not in ("media", "mark", "clear"):
            self._add_error(error_codes.STREAM_PROTOCOL, f"an unknown event {event[:40]!r}", at)
            return ()
        if incoming.stream_sid != self._stream_sid:
            return self._add_error_once(error_codes.STREAM_MALFORMED, f"a {event} without this stream's streamSid", at)
        if event == "clear":
            return self._on_clear(at)
        if event == "media" and incoming.media:
            return self._on_media(incoming.media.payload, at)
        if event == "mark" and incoming.mark:
            return self._on_mark(incoming.mark.name, at)
        return self._add_error_once(error_codes.STREAM_MALFORMED, f"a {event} without its content", at)

    def _on_media(self, audio: bytes, at: float) -> tuple[str, ...]:
        self.media_messages += 1
        if len(self._buffer) + len(audio) > MAX_BUFFER_SAMPLES:
            return self._add_error_once(error_codes.STREAM_MALFORMED, "more audio than can be buffered", at)
        if not self._buffer and (
            self._last_mark_position == self.received_samples or (self._silent_samples or 0) > MIN_BURST_GAP_SAMPLES
        ):
            self._silent_samples = None  # a new burst
        self._buffer += audio
        self.received_samples += len(audio)
        return ()

    def _on_mark(self, name: str, at: float) -> tuple[str, ...]:
        if len(self._pending_marks) >= MAX_MARKS:
            return self._add_error_once(error_codes.STREAM_MALFORMED, "more marks than can be kept", at)
        self._last_mark_position = self.received_samples
        self._pending_marks.append(_PendingMark(self.received_samples, name, at))
        return () if at < self._audible_until else self._return_due_marks(at)

    def _on_clear(self, at: float) -> tuple[str, ...]:
        dropped = len(self._buffer)
        self.cleared_samples += dropped
        self._buffer.clear()
        to_silence = max(0.0, self._audible_until - at)
        self.clears.append(ClearReport(at, to_silence * 1000, dropped * 1000 / SAMPLE_RATE))
        self._silent_samples = None
        self._was_cleared = True
        return self._return_due_marks(at, by_clear=True)

    def _return_due_marks(self, at: float, by_clear: bool = False) -> tuple[str, ...]:
        """The waiting marks that have no audio before them any more."""
        if not self._pending_marks:
            return ()
        done = self.played_samples + self.cleared_samples
        returned: list[str] = []
        while self._pending_marks and self._pending_marks[0].position <= done:
            mark = self._pending_marks.popleft()
            self.returned_marks.append(MarkReport(mark.name, mark.received_at, at, by_clear))
            returned.append(self.writer.mark(mark.name))
        return tuple(returned)

    def _count_underruns(self, played_samples: int) -> None:
        if played_samples:
            if self._silent_samples:
                self.underruns += 1
                self.underrun_samples += self._silent_samples
            self._silent_samples = 0
        if self._silent_samples is not None:
            self._silent_samples += FRAME_SAMPLES - played_samples

    def _add_error_once(self, code: int, message: str, at: float) -> tuple[str, ...]:
        if all(fault.code != code for fault in self.errors):
            self._add_error(code, message, at)
        return ()

    def _add_error(self, code: int, message: str, at: float) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(DebuggerEntry(code, message, at))
