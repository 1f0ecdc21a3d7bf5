"""All that is recorded of one stream: the whole call, if the tenant wants that, and messages, as the flow wants them.

The call tells what it hears and sends. Nothing here waits; while nothing is recorded (``on`` is false) nothing is done.

The recording of a message that the caller leaves.

Nothing is kept of one that is shorter than what the flow takes for a message: nobody wants to listen to the click of
somebody hanging up.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.codecs.telephony import BEEP
from vocelio.codecs.vad import SpeechStarted
from vocelio.engine.actions import Record
from vocelio.engine.nodes.record import MIN_MESSAGE_SECONDS
from vocelio.gateway.calls.control.listen_in import AudioSink
from vocelio.gateway.calls.media.call_recording import CallRecording, RecordingFactory, RecordingHandle
from vocelio.gateway.calls.media.prompt_player import PromptPlayer
from vocelio.gateway.media.playout import PlayoutEvent, PromptStarted, SendAudio, SendClear, SendCommand
from vocelio.gateway.media.speech_input import SpeechInput, VadEvent
from vocelio.gateway.media.voicemail import VoicemailTrimmer

_BEEP_SUFFIX = ".beep"
MAX_UNPLAYED_MESSAGES = 32  # messages: two seconds, as playout sends ahead, in the shortest that it sends
LISTEN_IN_CHUNK_SAMPLES = SAMPLE_RATE // 10
"""Samples of a piece that is given to whoever listens in: a tenth of a second."""


class CallRecorder:
    """The recorder of one stream. ``secret`` knows whether a prompt says something confidential.

    ``recorded`` hears of a message's end: the action's id, seconds, and where the message can be heard, if anywhere.
    """

    def __init__(
        self,
        factory: RecordingFactory,
        player: PromptPlayer,
        speech_input: SpeechInput,
        is_sensitive: Callable[[str], bool],
        on_recorded: Callable[[str, float, str], None],
    ) -> None:
        self._factory, self._player, self._speech_input = factory, player, speech_input
        self._is_sensitive, self._on_recorded = is_sensitive, on_recorded
        self._recordings: list[CallRecording] = []  # the call's recording, and one for whoever listens in
        self._caller_speaking = self._confidential = False
        self._unplayed: deque[SendAudio] = deque(maxlen=MAX_UNPLAYED_MESSAGES)  # what Twilio may still be playing
        self._record_action: Record | None = None  # the message that is being taken, or waits for its beep
        self._voicemail: VoicemailRecording | None = None
        self.is_active = False

    def start(self, started_at: float) -> None:
        """Record the whole call, with what the caller has said since the stream ``started``."""
        self._recordings.append(CallRecording(self._factory, self._is_sensitive, started_at))
        self.is_active = True

    def listen_in(self, sink: AudioSink) -> Callable[[], None]:
        """Let somebody hear all of it from now on; what is returned ends that."""
        tape = CallRecording(
            _LiveSink(sink), self._is_sensitive, asyncio.get_running_loop().time(), LISTEN_IN_CHUNK_SAMPLES
        )
        tape.start_mid_call(speaking=self._caller_speaking, confidential=self._confidential)
        now = asyncio.get_running_loop().time()
        for item in self._unplayed:
            played = max(0, round((now - item.starts_at) * SAMPLE_RATE))
            if played < len(item.mulaw):
                tape.on_sent(SendAudio(item.mulaw[played:], item.prompt, max(now, item.starts_at)))
        self._recordings.append(tape)
        self.is_active = True
        return lambda: self._remove(tape)

    def _remove(self, recording: CallRecording) -> None:
        if recording in self._recordings:
            self._recordings.remove(recording)
            self.is_active = bool(self._recordings or self._voicemail)

    def record_message(self, action: Record) -> None:
        """Take a message, behind the beep if there is to be one."""
        self.stop_message()
        self._record_action = action
        if action.beep:
            self._player.play(_beep_prompt(action), BEEP)
        else:
            self._start_message(action)

    def stop_message(self) -> None:
        """The message is complete, or not wanted any more."""
        wanted, self._record_action = self._record_action, None
        message, self._voicemail = self._voicemail, None
        self.is_active = bool(self._recordings)
        if message and wanted:
            self._on_recorded(wanted.id, *message.finish())
        elif wanted:
            self._player.stop(_beep_prompt(wanted))
            self._on_recorded(wanted.id, 0.0, "")

    def intercepts(self, event: PlayoutEvent) -> bool:
        """What became of a prompt, if it was a beep: when that is over the message begins."""
        if not event.prompt.endswith(_BEEP_SUFFIX):
            return False
        wanted = self._record_action
        if (
            wanted
            and self._voicemail is None
            and event.prompt == _beep_prompt(wanted)
            and not isinstance(event, PromptStarted)
        ):
            self._start_message(wanted)
        return True

    def on_audio(self, audio: bytes) -> None:
        """The caller's next sound."""
        for tape in self._recordings:
            tape.on_audio(audio)
        if self._voicemail and self._voicemail.on_audio(audio):
            self.stop_message()

    def on_vad(self, event: VadEvent) -> None:
        """The caller begins to speak, or has fallen silent."""
        self._caller_speaking = isinstance(event, SpeechStarted)
        for tape in self._recordings:
            tape.on_vad(event)
        if self._voicemail:
            self._voicemail.on_vad(event)

    def on_sent(self, item: SendCommand) -> None:
        """What the gateway sends."""
        if isinstance(item, SendAudio):
            self._unplayed.append(item)
        elif isinstance(item, SendClear):
            self._unplayed.clear()
        for tape in self._recordings:
            tape.on_sent(item)

    def on_echo(self, audio: bytes) -> None:
        """The caller's own sound goes back."""
        for tape in self._recordings:
            tape.on_echo(audio)

    def set_confidential(self, confidential: bool) -> None:
        """Whether what the caller says is confidential from now on."""
        self._confidential = confidential
        for tape in self._recordings:
            tape.set_confidential(confidential)

    def close(self) -> None:
        """The stream ends: what there is of a message is kept."""
        if self._voicemail:
            self._voicemail.finish()
        for tape in self._recordings:
            tape.close()
        self._recordings.clear()
        self._voicemail = self._record_action = None
        self.is_active = False

    def _start_message(self, action: Record) -> None:
        speaking = self._speech_input.set_silence(action.silence_seconds)
        self._voicemail = VoicemailRecording(self._factory, action, speaking=speaking)
        self.is_active = True


class _LiveSink:
    """Hands the sound on as it comes."""

    def __init__(self, sink: AudioSink) -> None:
        self.write = sink

    def start(self, kind: str) -> "_LiveSink":
        """See Maker."""
        return self

    def close(self) -> None:
        """See Taker."""


def _beep_prompt(action: Record) -> str:
    """The name by which the beep is played."""
    return f"{action.id}{_BEEP_SUFFIX}"


class VoicemailRecording:
    """One message, from where the caller may speak. ``speaking``: the caller does so already."""

    def __init__(self, factory: RecordingFactory, action: Record, *, speaking: bool) -> None:
        self._factory = factory
        self._trimmer = VoicemailTrimmer(action.silence_seconds, action.max_seconds, speaking=speaking)
        self._recording: RecordingHandle | None = None
        self._buffer = bytearray()  # what may yet be too short
        self._sample_count = 0

    def on_audio(self, audio: bytes) -> bool:
        """The caller's next sound; whether the message is over."""
        if kept := self._trimmer.on_audio(audio):
            self._write(kept)
        return self._trimmer.is_over

    def on_vad(self, event: VadEvent) -> None:
        """The caller begins to speak, or has fallen silent."""
        if isinstance(event, SpeechStarted):
            self._trimmer.on_voice()
        else:
            self._trimmer.on_silence(event.detected_at - event.ended_at)

    def finish(self) -> tuple[float, str]:
        """The message is over: its seconds, and where it can be heard (nowhere, if nothing was kept)."""
        if self._recording:
            self._recording.close()
        return self._sample_count / SAMPLE_RATE, self._recording.url if self._recording else ""

    def _write(self, audio: bytes) -> None:
        self._sample_count += len(audio)
        if self._recording:
            self._recording.write(audio)
            return
        self._buffer += audio
        if self._sample_count >= MIN_MESSAGE_SECONDS * SAMPLE_RATE:
            self._recording = self._factory.start("voicemail")
            self._recording.write(bytes(self._buffer))
