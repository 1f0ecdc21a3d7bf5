"""The caller's end of the line: one task that ticks from the answer to the end of the call.

In each tick 20 ms of what the stream plays go to the caller's ear, and 20 ms of what the caller says go to the
stream. Between two streams the line goes on: what is said then is lost, and what is heard is silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.caller.turn_taking import Performance
from vocelio.gateway.simulator.media.client import Stream
from vocelio.gateway.simulator.media.frame_clock import Pace
from vocelio.gateway.simulator.media.messages import SILENT_FRAME, payload
from vocelio.gateway.simulator.media.playback_buffer import Played
from vocelio.gateway.simulator.media.record_tape import Tape
from vocelio.gateway.simulator.media.stereo_recording import Recording
from vocelio.gateway.simulator.report.report import Ending

NOTHING: Final = Played(SILENT_FRAME, (), False)


class Handset:
    """``stream`` is the one that is connected, if any; ``tape`` the one that runs while Twilio records the caller."""

    def __init__(self, performance: Performance, recording: Recording) -> None:
        self.stream: Stream | None = None
        self.tape: Tape | None = None
        self._engaged = False
        self._performance = performance
        self._recording = recording

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """While Twilio or a callee talks with the caller, who does not take that for the gateway."""
        self._engaged = True
        try:
            yield
        finally:
            self._engaged = False

    async def hold(self, record: Record, longest: float) -> Ending:
        """Tick until the caller hangs up, or has been on the phone for ``longest`` seconds."""
        answered = record.now()
        pace = Pace(record.placed + answered)
        while True:
            at = await pace.tick() - record.placed
            if at >= longest:
                return "too_long"
            if await self._tick(at):
                return "caller_hung_up"

    async def _tick(self, at: float) -> bool:
        stream, tape = self.stream, self.tape
        played = stream.line.play(at) if stream else NOTHING
        audio = tape.play() if tape else played.audio
        act = self._performance.tick(audio, played.cleared, not self._engaged)
        self._recording.add(act.audio, audio)
        if tape:
            tape.hear(act.audio, act.key)
        if stream:
            await stream.send(played.returns, payload(act.audio), act.key)
        return act.hangs_up
