"""Recordings of one stream: the whole call, if the tenant wants that, voicemail of the flow, and listeners.

Nothing here waits. While ``is_active`` is false, nothing is recorded and no audio is passed in.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.codecs.telephony import BEEP
from vocelio.codecs.vad import SpeechStarted, VadEvent
from vocelio.engine.actions import Record
from vocelio.engine.nodes.record import MIN_MESSAGE_SECONDS
from vocelio.gateway.calls.control.listen_in import AudioSink
from vocelio.gateway.calls.media.call_recording import CallRecording, RecordingFactory, RecordingHandle
from vocelio.gateway.calls.media.prompt_player import PromptPlayer
from vocelio.gateway.media.playout import PlayoutEvent, PromptStarted, SendAudio, SendClear, SendCommand
from vocelio.gateway.media.speech_input import SpeechInput
from vocelio.gateway.media.voicemail import VoicemailTrimmer

_BEEP_SUFFIX = ".beep"
MAX_UNPLAYED_MESSAGES = 32  # messages: two seconds, as playout sends ahead, in the shortest that it sends
LISTEN_IN_CHUNK_SAMPLES = SAMPLE_RATE // 10
"""Samples of a chunk for a listener: a tenth of a second."""


class CallRecorder:
    """Recorder of one stream. ``is_sensitive`` tells whether a prompt is confidential.

    ``on_recorded`` gets the end of a voicemail: the action's id, its seconds, and its URL, if it was kept.
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
        self._recordings: list[CallRecording] = []  # of the call, and one for each listener
        self._caller_speaking = self._confidential = False
        self._unplayed: deque[SendAudio] = deque(maxlen=MAX_UNPLAYED_MESSAGES)  # Twilio may still be playing it
        self._record_action: Record | None = None  # the voicemail that is being recorded, or waits for its beep
        self._voicemail: VoicemailRecording | None = None
        self.is_active = False

    def start(self, started_at: float) -> None:
        """Record the whole call, since the stream started (loop time)."""
        self._recordings.append(CallRecording(self._factory, self._is_sensitive, started_at))
        self.is_active = True

    def listen_in(self, sink: AudioSink) -> Callable[[], None]:
        """Give both sides' audio to the sink from now on; the returned function ends that."""
        recording = CallRecording(
            _LiveSink(sink), self._is_sensitive, asyncio.get_running_loop().time(), LISTEN_IN_CHUNK_SAMPLES
        )
        recording.start_mid_call(speaking=self._caller_speaking, confidential=self._confidential)
        now = asyncio.get_running_loop().time()
        for item in self._unplayed:
            played = max(0, round((now - item.starts_at) * SAMPLE_RATE))
            if played < len(item.mulaw):
                recording.on_sent(SendAudio(item.mulaw[played:], item.prompt, max(now, item.starts_at)))
        self._recordings.append(recording)
        self.is_active = True
        return lambda: self._remove(recording)

    def _remove(self, recording: CallRecording) -> None:
        if recording in self._recordings:
            self._recordings.remove(recording)
            self.is_active = bool(self._recordings or self._voicemail)

    def record_message(self, action: Record) -> None:
        """Record a voicemail, after the beep if there is one."""
        self.stop_message()
        self._record_action = action
        if action.beep:
            self._player.play(_beep_prompt(action), BEEP)
        else:
            self._start_message(action)

    def stop_message(self) -> None:
        """End the voicemail, complete or not."""
        action, self._record_action = self._record_action, None
        voicemail, self._voicemail = self._voicemail, None
        self.is_active = bool(self._recordings)
        if voicemail and action:
            self._on_recorded(action.id, *voicemail.finish())
        elif action:
            self._player.stop(_beep_prompt(action))
            self._on_recorded(action.id, 0.0, "")

    def intercepts(self, event: PlayoutEvent) -> bool:
        """Take the event of a beep, whose end starts the voicemail; False for other prompts."""
        if not event.prompt.endswith(_BEEP_SUFFIX):
            return False
        action = self._record_action
        if (
            action
            and self._voicemail is None
            and event.prompt == _beep_prompt(action)
            and not isinstance(event, PromptStarted)
        ):
            self._start_message(action)
        return True

    def on_audio(self, audio: bytes) -> None:
        """Record the caller's next audio."""
        for recording in self._recordings:
            recording.on_audio(audio)
        if self._voicemail and self._voicemail.on_audio(audio):
            self.stop_message()

    def on_vad(self, event: VadEvent) -> None:
        """Note that the caller started or stopped speaking."""
        self._caller_speaking = isinstance(event, SpeechStarted)
        for recording in self._recordings:
            recording.on_vad(event)
        if self._voicemail:
            self._voicemail.on_vad(event)

    def on_sent(self, item: SendCommand) -> None:
        """Record what the gateway sends."""
        if isinstance(item, SendAudio):
            self._unplayed.append(item)
        elif isinstance(item, SendClear):
            self._unplayed.clear()
        for recording in self._recordings:
            recording.on_sent(item)

    def on_echo(self, audio: bytes) -> None:
        """Record the caller's audio that is echoed."""
        for recording in self._recordings:
            recording.on_echo(audio)

    def set_confidential(self, confidential: bool) -> None:
        """Mask the caller from now on, or stop masking."""
        self._confidential = confidential
        for recording in self._recordings:
            recording.set_confidential(confidential)

    def close(self) -> None:
        """End all recordings; a voicemail is kept as far as it got."""
        if self._voicemail:
            self._voicemail.finish()
        for recording in self._recordings:
            recording.close()
        self._recordings.clear()
        self._voicemail = self._record_action = None
        self.is_active = False

    def _start_message(self, action: Record) -> None:
        speaking = self._speech_input.set_silence(action.silence_seconds)
        self._voicemail = VoicemailRecording(self._factory, action, speaking=speaking)
        self.is_active = True


class _LiveSink:
    """Passes the audio on to a listener."""

    def __init__(self, sink: AudioSink) -> None:
        self.write = sink

    def start(self, kind: str) -> "_LiveSink":
        return self

    def close(self) -> None:
        pass


def _beep_prompt(action: Record) -> str:
    """Return the prompt id of the beep."""
    return f"{action.id}{_BEEP_SUFFIX}"


class VoicemailRecording:
    """One voicemail, from where the caller may speak. ``speaking``: the caller already does.

    One that is shorter than MIN_MESSAGE_SECONDS is dropped: it would be the click of a hang-up.
    """

    def __init__(self, factory: RecordingFactory, action: Record, *, speaking: bool) -> None:
        self._factory = factory
        self._trimmer = VoicemailTrimmer(action.silence_seconds, action.max_seconds, speaking=speaking)
        self._recording: RecordingHandle | None = None
        self._buffer = bytearray()  # until it is long enough to be kept
        self._sample_count = 0

    def on_audio(self, audio: bytes) -> bool:
        """Record the caller's next audio; True at the end of the voicemail."""
        if kept := self._trimmer.on_audio(audio):
            self._write(kept)
        return self._trimmer.is_over

    def on_vad(self, event: VadEvent) -> None:
        """Note that the caller started or stopped speaking."""
        if isinstance(event, SpeechStarted):
            self._trimmer.on_voice()
        else:
            self._trimmer.on_silence(event.detected_at - event.ended_at)

    def finish(self) -> tuple[float, str]:
        """End the voicemail; return its seconds and URL (empty if it was dropped)."""
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
