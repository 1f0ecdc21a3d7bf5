"""Both sides of a call on the line's clock, over all its streams and the silences between them.

A frame of the caller's has been said before it is sent, a frame of the gateway's is heard after it was taken from
the buffer: so of two frames of one tick the gateway's lies 20 ms later.
"""

from pathlib import Path

from vocelio.codecs import mulaw, wav
from vocelio.gateway.simulator.media.messages import SILENT_FRAME


class StereoRecording:
    """Mu-law of both sides; as long as the call, so bounded by the longest time a call may take."""

    def __init__(self) -> None:
        self._caller = bytearray()
        self._gateway = bytearray(SILENT_FRAME)

    def add_frame(self, caller: bytes, gateway: bytes) -> None:
        """What was said and played in one tick."""
        self._caller += caller
        self._gateway += gateway

    @property
    def heard_audio(self) -> bytes:
        """What the caller heard."""
        return bytes(self._gateway)

    def write(self, path: Path) -> None:
        """A stereo WAV: the caller left, the gateway right. Raises OSError."""
        left, right = mulaw.decode(bytes(self._caller)), mulaw.decode(bytes(self._gateway))
        wav.write_stereo(path, left, right, mulaw.SAMPLE_RATE)
