"""All that is recorded of one stream: the whole call, if the tenant wants that, and messages, as the flow wants them.

The call tells what it hears and sends. Nothing here waits; while nothing is recorded (``on`` is false) nothing is done.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.codecs.tones import BEEP
from vocelio.codecs.vad import SpeechStarted
from vocelio.engine.actions import Record
from vocelio.gateway.calls.control.listen_in import Sink
from vocelio.gateway.calls.media.call_recording import CallTape
from vocelio.gateway.calls.media.prompt_player import Speaking
from vocelio.gateway.calls.media.recording_handle import Reels
from vocelio.gateway.calls.media.voicemail_recording import MessageTape
from vocelio.gateway.media.playout import Began, PlayoutEvent, Send, SendAudio, SendClear
from vocelio.gateway.media.speech_input import Edge, Listening

_BEEP = ".beep"
MAX_AHEAD = 32  # messages: two seconds, as playout sends ahead, in the shortest that it sends
OVERHEARD = SAMPLE_RATE // 10
"""Samples of a piece that is given to whoever listens in: a tenth of a second."""


class Recorder:
    """The recorder of one stream. ``secret`` knows whether a prompt says something confidential.

    ``recorded`` hears of a message's end: the action's id, seconds, and where the message can be heard, if anywhere.
    """

    def __init__(
        self,
        reels: Reels,
        speaking: Speaking,
        listening: Listening,
        secret: Callable[[str], bool],
        recorded: Callable[[str, float, str], None],
    ) -> None:
        self._reels, self._speaking, self._listening = reels, speaking, listening
        self._secret, self._recorded = secret, recorded
        self._tapes: list[CallTape] = []  # the call's recording, and one for whoever listens in
        self._speaks = self._confidential = False
        self._ahead: deque[SendAudio] = deque(maxlen=MAX_AHEAD)  # what Twilio may still be playing
        self._wanted: Record | None = None  # the message that is being taken, or waits for its beep
        self._message: MessageTape | None = None
        self.on = False

    def begin(self, started: float) -> None:
        """Record the whole call, with what the caller has said since the stream ``started``."""
        self._tapes.append(CallTape(self._reels, self._secret, started))
        self.on = True

    def listen_in(self, sink: Sink) -> Callable[[], None]:
        """Let somebody hear all of it from now on; what is returned ends that."""
        tape = CallTape(_Overheard(sink), self._secret, asyncio.get_running_loop().time(), OVERHEARD)
        tape.begin_amid(speaking=self._speaks, confidential=self._confidential)
        now = asyncio.get_running_loop().time()
        for item in self._ahead:
            played = max(0, round((now - item.starts) * SAMPLE_RATE))
            if played < len(item.mulaw):
                tape.sent(SendAudio(item.mulaw[played:], item.prompt, max(now, item.starts)))
        self._tapes.append(tape)
        self.on = True
        return lambda: self._leave(tape)

    def _leave(self, tape: CallTape) -> None:
        if tape in self._tapes:
            self._tapes.remove(tape)
            self.on = bool(self._tapes or self._message)

    def record(self, wanted: Record) -> None:
        """Take a message, behind the beep if there is to be one."""
        self.stop()
        self._wanted = wanted
        if wanted.beep:
            self._speaking.play(_beep(wanted), BEEP)
        else:
            self._start(wanted)

    def stop(self) -> None:
        """The message is complete, or not wanted any more."""
        wanted, self._wanted = self._wanted, None
        message, self._message = self._message, None
        self.on = bool(self._tapes)
        if message and wanted:
            self._recorded(wanted.id, *message.end())
        elif wanted:
            self._speaking.stop(_beep(wanted))
            self._recorded(wanted.id, 0.0, "")

    def takes(self, event: PlayoutEvent) -> bool:
        """What became of a prompt, if it was a beep: when that is over the message begins."""
        if not event.prompt.endswith(_BEEP):
            return False
        wanted = self._wanted
        if wanted and self._message is None and event.prompt == _beep(wanted) and not isinstance(event, Began):
            self._start(wanted)
        return True

    def hear(self, sound: bytes) -> None:
        """The caller's next sound."""
        for tape in self._tapes:
            tape.hear(sound)
        if self._message and self._message.hear(sound):
            self.stop()

    def turned(self, edge: Edge) -> None:
        """The caller begins to speak, or has fallen silent."""
        self._speaks = isinstance(edge, SpeechStarted)
        for tape in self._tapes:
            tape.turned(edge)
        if self._message:
            self._message.turned(edge)

    def sent(self, item: Send) -> None:
        """What the gateway sends."""
        if isinstance(item, SendAudio):
            self._ahead.append(item)
        elif isinstance(item, SendClear):
            self._ahead.clear()
        for tape in self._tapes:
            tape.sent(item)

    def echoed(self, sound: bytes) -> None:
        """The caller's own sound goes back."""
        for tape in self._tapes:
            tape.echoed(sound)

    def confide(self, confidential: bool) -> None:
        """Whether what the caller says is confidential from now on."""
        self._confidential = confidential
        for tape in self._tapes:
            tape.confide(confidential)

    def close(self) -> None:
        """The stream ends: what there is of a message is kept."""
        if self._message:
            self._message.end()
        for tape in self._tapes:
            tape.close()
        self._tapes.clear()
        self._message = self._wanted = None
        self.on = False

    def _start(self, wanted: Record) -> None:
        speaking = self._listening.attend(wanted.silence)
        self._message = MessageTape(self._reels, wanted, speaking=speaking)
        self.on = True


class _Overheard:
    """Hands the sound on as it comes."""

    def __init__(self, sink: Sink) -> None:
        self.add = sink

    def begin(self, kind: str) -> "_Overheard":
        """See Maker."""
        return self

    def end(self) -> None:
        """See Taker."""


def _beep(wanted: Record) -> str:
    """The name by which the beep is played."""
    return f"{wanted.id}{_BEEP}"
