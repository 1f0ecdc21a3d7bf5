"""The caller's end of the line: one task that ticks from the answer to the end of the call.

In each tick 20 ms of what the stream plays go to the caller's ear, and 20 ms of what the caller says go to the
stream. Between two streams the line goes on: what is said then is lost, and what is heard is silence.
"""

from typing import Final

from vocelio.gateway.simulator.line import Played
from vocelio.gateway.simulator.pace import Pace
from vocelio.gateway.simulator.performance import Performance
from vocelio.gateway.simulator.record import Record
from vocelio.gateway.simulator.recording import Recording
from vocelio.gateway.simulator.report import Ending
from vocelio.gateway.simulator.stream import Stream
from vocelio.gateway.simulator.wire import SILENT_FRAME, payload

NOTHING: Final = Played(SILENT_FRAME, (), False)


class Handset:
    """``stream`` is the one that is connected, if any; ``engaged`` while Twilio or a callee talks with the caller."""

    def __init__(self, performance: Performance, recording: Recording) -> None:
        self.stream: Stream | None = None
        self.engaged = False
        self._performance = performance
        self._recording = recording

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
        stream = self.stream
        played = stream.line.play(at) if stream else NOTHING
        act = self._performance.tick(played.audio, played.cleared, not self.engaged)
        self._recording.add(act.audio, played.audio)
        if stream:
            await stream.send(played.returns, payload(act.audio), act.key)
        return act.hangs_up
