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
from vocelio.gateway.simulator.error_codes import Fault
from vocelio.gateway.simulator.media import messages
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE, SILENT_FRAME
from vocelio.gateway.simulator.report.report import Clear, Mark

BUFFER_LIMIT = 600 * SAMPLE_RATE
"""Samples: ten minutes. Twilio's own limit is not documented; what comes beyond it is dropped, with a fault."""

MARKS_LIMIT = 10_000
"""Marks waiting, and marks remembered for the report: more are dropped, with a fault, or forgotten."""

FAULTS_LIMIT = 20
"""Faults kept of one stream: one that repeats itself on every frame tells nothing new."""

BURST_GAP_SAMPLES = SAMPLE_RATE // 2
"""Silence that separates two utterances of the server's even when it sent no mark between them."""


class Played(NamedTuple):
    """20 ms of what the caller hears, the marks to return before it, and whether ``clear`` came since the last."""

    audio: bytes
    returns: tuple[str, ...]
    cleared: bool


@dataclass(frozen=True, slots=True)
class _Waiting:
    position: int
    name: str
    received: float


class Line:
    """One stream's buffer at Twilio, and the numbered messages it answers with."""

    def __init__(self, stream_sid: str, outgoing: messages.Outgoing) -> None:
        self.outgoing = outgoing
        self.messages = 0
        self.received = 0  # samples, as are the next three
        self.played = 0
        self.cleared = 0
        self.underrun = 0
        self.underruns = 0
        self.clears: list[Clear] = []
        self.marks: deque[Mark] = deque(maxlen=MARKS_LIMIT)
        self.faults: list[Fault] = []
        self._stream_sid = stream_sid
        self._buffer = bytearray()
        self._waiting: deque[_Waiting] = deque()
        self._marked = 0  # the position of the latest mark
        self._dry: int | None = None  # silent samples since the burst under way ran out of audio
        self._sounding_until = 0.0  # the end of the frame under way, if it has audio
        self._cut = False

    def opening(self) -> tuple[str, str]:
        """What Twilio sends first."""
        return self.outgoing.connected(), self.outgoing.start()

    def receive(self, message: str | bytes, at: float) -> tuple[str, ...]:
        """Take a message of the server's at ``at`` seconds; what is returned is to be sent at once."""
        if isinstance(message, bytes):
            return self._once(error_codes.STREAM_BINARY, "a binary message", at)
        try:
            incoming = messages.decode(message)
        except (msgspec.MsgspecError, RecursionError) as error:
            return self._once(error_codes.STREAM_MALFORMED, f"a malformed message: {error}", at)
        return self._handle(incoming, at)

    def play(self, at: float) -> Played:
        """The next 20 ms, which the caller hears from ``at`` seconds on."""
        returns = self._returns(at)
        frame = bytes(self._buffer[:FRAME_SAMPLES]) or SILENT_FRAME
        taken = min(len(self._buffer), FRAME_SAMPLES)
        if taken:
            del self._buffer[:FRAME_SAMPLES]
            self.played += taken
            self._sounding_until = at + FRAME_SECONDS
            frame += SILENT_FRAME[taken:]
        self._count_gaps(taken)
        cut, self._cut = self._cut, False
        return Played(frame, returns, cut)

    def _handle(self, incoming: messages.Incoming, at: float) -> tuple[str, ...]:
        event = incoming.event
        if event not in ("media", "mark", "clear"):
            self._fault(error_codes.STREAM_PROTOCOL, f"an unknown event {event[:40]!r}", at)
            return ()
        if incoming.stream_sid != self._stream_sid:
            return self._once(error_codes.STREAM_MALFORMED, f"a {event} without this stream's streamSid", at)
        if event == "clear":
            return self._clear(at)
        if event == "media" and incoming.media:
            return self._buffer_audio(incoming.media.payload, at)
        if event == "mark" and incoming.mark:
            return self._mark(incoming.mark.name, at)
        return self._once(error_codes.STREAM_MALFORMED, f"a {event} without its content", at)

    def _buffer_audio(self, audio: bytes, at: float) -> tuple[str, ...]:
        self.messages += 1
        if len(self._buffer) + len(audio) > BUFFER_LIMIT:
            return self._once(error_codes.STREAM_MALFORMED, "more audio than can be buffered", at)
        if not self._buffer and (self._marked == self.received or (self._dry or 0) > BURST_GAP_SAMPLES):
            self._dry = None  # a new burst
        self._buffer += audio
        self.received += len(audio)
        return ()

    def _mark(self, name: str, at: float) -> tuple[str, ...]:
        if len(self._waiting) >= MARKS_LIMIT:
            return self._once(error_codes.STREAM_MALFORMED, "more marks than can be kept", at)
        self._marked = self.received
        self._waiting.append(_Waiting(self.received, name, at))
        return () if at < self._sounding_until else self._returns(at)

    def _clear(self, at: float) -> tuple[str, ...]:
        dropped = len(self._buffer)
        self.cleared += dropped
        self._buffer.clear()
        to_silence = max(0.0, self._sounding_until - at)
        self.clears.append(Clear(at, to_silence * 1000, dropped * 1000 / SAMPLE_RATE))
        self._dry = None
        self._cut = True
        return self._returns(at, cleared=True)

    def _returns(self, at: float, cleared: bool = False) -> tuple[str, ...]:
        """The waiting marks that have no audio before them any more."""
        if not self._waiting:
            return ()
        done = self.played + self.cleared
        returned: list[str] = []
        while self._waiting and self._waiting[0].position <= done:
            mark = self._waiting.popleft()
            self.marks.append(Mark(mark.name, mark.received, at, cleared))
            returned.append(self.outgoing.mark(mark.name))
        return tuple(returned)

    def _count_gaps(self, taken: int) -> None:
        if taken:
            if self._dry:
                self.underruns += 1
                self.underrun += self._dry
            self._dry = 0
        if self._dry is not None:
            self._dry += FRAME_SAMPLES - taken

    def _once(self, code: int, text: str, at: float) -> tuple[str, ...]:
        if all(fault.code != code for fault in self.faults):
            self._fault(code, text, at)
        return ()

    def _fault(self, code: int, text: str, at: float) -> None:
        if len(self.faults) < FAULTS_LIMIT:
            self.faults.append(Fault(code, text, at))
