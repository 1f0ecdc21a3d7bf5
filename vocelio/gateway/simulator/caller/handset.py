"""The caller's handset: one task that ticks every 20 ms from the answer to the end of the call.

In each tick, one frame of what the stream plays goes to the caller, and one frame of what the caller says goes to the
stream. Between two streams the handset keeps ticking: the caller's audio is lost, and the caller hears silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vocelio.codecs import mulaw, wav
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.caller.turn_taking import CallerTurnTaking
from vocelio.gateway.simulator.media.client import StreamClient
from vocelio.gateway.simulator.media.frame_clock import FrameClock
from vocelio.gateway.simulator.media.messages import SILENT_FRAME, encode_payload
from vocelio.gateway.simulator.media.playback_buffer import PlayedFrame
from vocelio.gateway.simulator.media.record_tape import RecordTape
from vocelio.gateway.simulator.report import Ending

NO_PLAYBACK: Final = PlayedFrame(SILENT_FRAME, (), False)


class StereoRecording:
    """Mu-law audio of both sides over all streams of a call; bounded by the maximum duration of a call.

    The caller's frame is spoken before it is sent, the gateway's is heard after it was taken from the buffer: of the
    two frames of one tick, the gateway's is 20 ms later.
    """

    def __init__(self) -> None:
        self._caller = bytearray()
        self._gateway = bytearray(SILENT_FRAME)

    def add_frame(self, caller: bytes, gateway: bytes) -> None:
        self._caller += caller
        self._gateway += gateway

    @property
    def heard_audio(self) -> bytes:
        return bytes(self._gateway)

    def write(self, path: Path) -> None:
        """Write a stereo WAV: caller left, gateway right. Raises OSError."""
        left, right = mulaw.decode(bytes(self._caller)), mulaw.decode(bytes(self._gateway))
        wav.write_stereo(path, left, right, mulaw.SAMPLE_RATE)


class Handset:
    """Audio loop of one caller. ``stream`` is the connected stream, ``record_tape`` runs during ``<Record>``."""

    def __init__(self, turn_taking: CallerTurnTaking, recording: StereoRecording) -> None:
        self.stream: StreamClient | None = None
        self.record_tape: RecordTape | None = None
        self._is_muted = False
        self._turn_taking = turn_taking
        self._recording = recording

    @contextmanager
    def mute_to_gateway(self) -> Iterator[None]:
        """Do not attribute audio to the gateway while Twilio or a callee talks to the caller."""
        self._is_muted = True
        try:
            yield
        finally:
            self._is_muted = False

    async def run(self, call_log: CallLog, max_seconds: float) -> Ending:
        """Tick until the caller hangs up or the call lasts ``max_seconds``."""
        answered_at = call_log.now()
        frame_clock = FrameClock(call_log.placed_at + answered_at)
        while True:
            at = await frame_clock.tick() - call_log.placed_at
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
