"""Sans-IO playback buffer at Twilio's end of a media socket.

Audio is buffered and played in order, one 20 ms frame per call of ``play``; the caller of ``play`` keeps the clock. A
mark is returned with the first frame after the audio that precedes it, so never early and at most 20 ms late; or at
once if nothing is playing or ``clear`` empties the buffer. No message of the server raises: invalid messages are logged
as errors.
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
"""Ten minutes. Twilio's limit is not documented; audio beyond it is dropped and logged as an error."""

MAX_MARKS = 10_000
"""Bound of pending marks (more are dropped and logged) and of returned marks in the report (oldest are removed)."""

MAX_ERRORS = 20
"""Errors kept per stream: one that repeats with every frame adds no information."""

MIN_BURST_GAP_SAMPLES = SAMPLE_RATE // 2
"""Silence that separates two prompts of the server even if it sent no mark between them."""


class PlayedFrame(NamedTuple):
    """One frame played to the caller, the marks to return before it, and whether ``clear`` preceded it."""

    audio: bytes
    marks: tuple[str, ...]
    cleared: bool


@dataclass(frozen=True, slots=True)
class _PendingMark:
    position: int
    name: str
    received_at: float


class StreamBuffer:
    """Playback buffer of one stream."""

    def __init__(self, stream_sid: str, writer: messages.MessageWriter) -> None:
        self.writer = writer
        self.media_messages = 0
        self.received_samples = 0
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
        self._last_mark_position = 0
        self._silent_samples: int | None = None  # since the current burst ran out of audio
        self._audible_until = 0.0  # end of the current frame, if it has audio
        self._was_cleared = False

    def opening_messages(self) -> tuple[str, str]:
        """Return the messages with which a stream starts."""
        return self.writer.connected(), self.writer.start()

    def receive(self, message: str | bytes, at: float) -> tuple[str, ...]:
        """Process a message received at ``at`` seconds; return the messages to send at once."""
        if isinstance(message, bytes):
            return self._add_error_once(error_codes.STREAM_BINARY, "a binary message", at)
        try:
            incoming = messages.decode(message)
        except (msgspec.MsgspecError, RecursionError) as error:
            return self._add_error_once(error_codes.STREAM_MALFORMED, f"a malformed message: {error}", at)
        return self._on_message(incoming, at)

    def play(self, at: float) -> PlayedFrame:
        """Return the next frame, which the caller hears from ``at`` seconds on."""
        marks = self._return_due_marks(at)
        frame = bytes(self._buffer[:FRAME_SAMPLES]) or SILENT_FRAME
        taken = min(len(self._buffer), FRAME_SAMPLES)
        if taken:
            del self._buffer[:FRAME_SAMPLES]
            self.played_samples += taken
            self._audible_until = at + FRAME_SECONDS
            frame += SILENT_FRAME[taken:]
        self._count_underruns(taken)
        cleared, self._was_cleared = self._was_cleared, False
        return PlayedFrame(frame, marks, cleared)

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
        return self._add_error_once(error_codes.STREAM_MALFORMED, f"a {event} without its member", at)

    def _on_media(self, audio: bytes, at: float) -> tuple[str, ...]:
        self.media_messages += 1
        if len(self._buffer) + len(audio) > MAX_BUFFER_SAMPLES:
            return self._add_error_once(error_codes.STREAM_MALFORMED, "the playback buffer is full", at)
        if not self._buffer and (
            self._last_mark_position == self.received_samples or (self._silent_samples or 0) > MIN_BURST_GAP_SAMPLES
        ):
            self._silent_samples = None  # a new burst
        self._buffer += audio
        self.received_samples += len(audio)
        return ()

    def _on_mark(self, name: str, at: float) -> tuple[str, ...]:
        if len(self._pending_marks) >= MAX_MARKS:
            return self._add_error_once(error_codes.STREAM_MALFORMED, "too many pending marks", at)
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
        """Return the pending marks whose audio has been played or cleared."""
        if not self._pending_marks:
            return ()
        position = self.played_samples + self.cleared_samples
        returned: list[str] = []
        while self._pending_marks and self._pending_marks[0].position <= position:
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
        if all(error.code != code for error in self.errors):
            self._add_error(code, message, at)
        return ()

    def _add_error(self, code: int, message: str, at: float) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(DebuggerEntry(code, message, at))
