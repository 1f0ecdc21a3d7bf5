"""The caller's end of the line: one task that ticks from the answer to the end of the call.

In each tick 20 ms of what the stream plays go to the caller's ear, and 20 ms of what the caller says go to the
stream. Between two streams the line goes on: what is said then is lost, and what is heard is silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.caller.turn_taking import CallerTurnTaking
from vocelio.gateway.simulator.media.client import StreamClient
from vocelio.gateway.simulator.media.frame_clock import FrameClock
from vocelio.gateway.simulator.media.messages import SILENT_FRAME, encode_payload
from vocelio.gateway.simulator.media.playback_buffer import PlayedFrame
from vocelio.gateway.simulator.media.record_tape import RecordTape
from vocelio.gateway.simulator.media.stereo_recording import StereoRecording
from vocelio.gateway.simulator.report.report import Ending

NO_PLAYBACK: Final = PlayedFrame(SILENT_FRAME, (), False)


class Handset:
    """``stream`` is the one that is connected, if any; ``tape`` the one that runs while Twilio records the caller."""

    def __init__(self, turn_taking: CallerTurnTaking, recording: StereoRecording) -> None:
        self.stream: StreamClient | None = None
        self.record_tape: RecordTape | None = None
        self._is_muted = False
        self._turn_taking = turn_taking
        self._recording = recording

    @contextmanager
    def mute_to_gateway(self) -> Iterator[None]:
        """While Twilio or a callee talks with the caller, who does not take that for the gateway."""
        self._is_muted = True
        try:
            yield
        finally:
            self._is_muted = False

    async def run(self, call_log: CallLog, max_seconds: float) -> Ending:
        """Tick until the caller hangs up, or has been on the phone for ``longest`` seconds."""
        answered = call_log.now()
        pace = FrameClock(call_log.placed_at + answered)
        while True:
            at = await pace.tick() - call_log.placed_at
            if at >= max_seconds:
                return "too_long"
            if await self._tick(at):
                return "caller_hung_up"

    async def _tick(self, at: float) -> bool:
        stream, tape = self.stream, self.record_tape
        played = stream.buffer.play(at) if stream else NO_PLAYBACK
        audio = tape.next_frame() if tape else played.audio
        act = self._turn_taking.tick(audio, played.cleared, not self._is_muted)
        self._recording.add_frame(act.audio, audio)
        if tape:
            tape.on_audio(act.audio, act.key)
        if stream:
            await stream.send(played.marks, encode_payload(act.audio), act.key)
        return act.hangs_up
