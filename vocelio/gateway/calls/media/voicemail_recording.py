"""The recording of a message that the caller leaves.

Nothing is kept of one that is shorter than what the flow takes for a message: nobody wants to listen to the click of
somebody hanging up.
"""

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.codecs.vad import SpeechStarted
from vocelio.engine.actions import Record
from vocelio.engine.nodes.record import SHORTEST
from vocelio.gateway.calls.media.recording_handle import Reel, Reels
from vocelio.gateway.media.speech_input import Edge
from vocelio.gateway.media.voicemail import Voicemail


class MessageTape:
    """One message, from where the caller may speak. ``speaking``: the caller does so already."""

    def __init__(self, reels: Reels, wanted: Record, *, speaking: bool) -> None:
        self._reels = reels
        self._voicemail = Voicemail(wanted.silence, wanted.max_seconds, speaking=speaking)
        self._reel: Reel | None = None
        self._first = bytearray()  # what may yet be too short
        self._length = 0

    def hear(self, sound: bytes) -> bool:
        """The caller's next sound; whether the message is over."""
        if kept := self._voicemail.hear(sound):
            self._keep(kept)
        return self._voicemail.over

    def turned(self, edge: Edge) -> None:
        """The caller begins to speak, or has fallen silent."""
        if isinstance(edge, SpeechStarted):
            self._voicemail.voice()
        else:
            self._voicemail.quiet(edge.at - edge.ended)

    def end(self) -> tuple[float, str]:
        """The message is over: its seconds, and where it can be heard (nowhere, if nothing was kept)."""
        if self._reel:
            self._reel.end()
        return self._length / SAMPLE_RATE, self._reel.url if self._reel else ""

    def _keep(self, sound: bytes) -> None:
        self._length += len(sound)
        if self._reel:
            self._reel.add(sound)
            return
        self._first += sound
        if self._length >= SHORTEST * SAMPLE_RATE:
            self._reel = self._reels.begin("voicemail")
            self._reel.add(bytes(self._first))
