"""Playout, sans-IO: paces the audio of prompts, and knows by marks and a computed buffer what the caller has heard.

Twilio buffers audio and plays it in order. A prompt is sent ahead of real time, but by MAX_LEAD_SECONDS at most: a
barge-in then has little to clear, and a busy event loop causes no gap. Marks are sent before the first and after the
last audio of a prompt; when they return, the caller has heard its start and its end. A mark that never returns has a
deadline.

Times are seconds of any one clock. ``poll`` returns what is due; ``events`` what has become known.
"""

from collections import deque
from dataclasses import dataclass, field

from vocelio.codecs.mulaw import SAMPLE_RATE

MAX_LEAD_SECONDS = 2.0  # outlasts a garbage collection, a slow commit or a noisy neighbor
CHUNK_BYTES = 1600  # bytes, 200 ms: a tenth of the messages of 20 ms frames
MARK_GRACE_SECONDS = 3.0  # how late an end mark may return
SYNTH_BUFFER_BYTES = 80_000  # bytes, 10 s: how far a synthesizer may run ahead of what has been sent


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Audio of a prompt to send now; the caller hears it from ``starts_at`` on, by the computed buffer."""

    mulaw: bytes
    prompt: str = field(default="", compare=False)
    starts_at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SendMark:
    """A mark to send now."""

    name: str


@dataclass(frozen=True, slots=True)
class SendClear:
    """A clear message to send now: Twilio drops its buffer."""


SendCommand = SendAudio | SendMark | SendClear


@dataclass(frozen=True, slots=True)
class PromptStarted:
    """The caller hears the first audio of the prompt."""

    prompt: str
    at: float


@dataclass(frozen=True, slots=True)
class PromptFinished:
    """The prompt was played to its end, with ``late_seconds`` of silence in it because audio was late.

    ``mark_received``: its end mark returned; otherwise the deadline passed.
    """

    prompt: str
    at: float
    late_seconds: float
    mark_received: bool = True


@dataclass(frozen=True, slots=True)
class PromptInterrupted:
    """The prompt was cleared after ``played_seconds`` of it had been played."""

    prompt: str
    at: float
    played_seconds: float
    late_seconds: float


PlayoutEvent = PromptStarted | PromptFinished | PromptInterrupted


@dataclass(slots=True)
class _Prompt:
    name: str
    pending: bytearray = field(default_factory=bytearray)
    complete: bool = False
    start_mark_sent: bool = False
    end_mark_sent: bool = False
    sent_bytes: int = 0
    starts_at: float = 0.0  # when its first audio should be heard, by the computed buffer
    started_at: float | None = None  # when it was, by the mark
    ends_at: float = 0.0
    late_seconds: float = 0.0


class Playout:
    """The playout of one stream."""

    def __init__(
        self,
        max_lead_seconds: float = MAX_LEAD_SECONDS,
        chunk_bytes: int = CHUNK_BYTES,
        mark_grace_seconds: float = MARK_GRACE_SECONDS,
    ) -> None:
        self._max_lead_seconds, self._chunk_bytes = max_lead_seconds, chunk_bytes
        self._mark_grace_seconds = mark_grace_seconds
        self._prompts: deque[_Prompt] = deque()
        self._buffer_empty_at = 0.0  # when Twilio's buffer runs empty
        self._events: list[PlayoutEvent] = []

    # From the call

    def start(self, prompt: str) -> None:
        """Add a prompt after the present ones; its name must be unique."""
        self._prompts.append(_Prompt(prompt))

    def feed(self, prompt: str, mulaw: bytes) -> None:
        """Append audio to a prompt; audio of a cleared prompt is dropped."""
        if queued := self._find(prompt):
            queued.pending += mulaw

    def finish(self, prompt: str) -> None:
        """Mark the audio of a prompt as complete."""
        if queued := self._find(prompt):
            queued.complete = True

    def has_room(self, prompt: str) -> bool:
        """Return whether more audio should be synthesized now; false if the prompt was cleared."""
        queued = self._find(prompt)
        return queued is not None and len(queued.pending) < SYNTH_BUFFER_BYTES

    def has_prompt(self, prompt: str) -> bool:
        """Return whether the prompt has neither ended nor been cleared."""
        return self._find(prompt) is not None

    def clear(self, now: float) -> list[SendCommand]:
        """Stop all prompts at a barge-in; events report what was heard of each."""
        prompts, self._prompts = self._prompts, deque()
        for prompt in prompts:
            started_at = prompt.starts_at if prompt.started_at is None else prompt.started_at
            played = min(now - started_at, prompt.sent_bytes / SAMPLE_RATE) if prompt.sent_bytes else 0.0
            self._events.append(PromptInterrupted(prompt.name, now, max(0.0, played), prompt.late_seconds))
        anything_sent = any(prompt.start_mark_sent for prompt in prompts)
        self._buffer_empty_at = min(self._buffer_empty_at, now)
        return [SendClear()] if anything_sent else []

    # From Twilio

    def on_mark(self, name: str, now: float) -> None:
        """Process a returned mark; one of a prompt that is gone was sent before a clear."""
        prompt_name, _, which = name.rpartition(".")
        if self._find(prompt_name) is None:
            return
        while self._prompts[0].name != prompt_name:  # marks return in order: the earlier ones were lost
            self._report_finished(now, mark_received=False)
        prompt = self._prompts[0]
        if which == "begin" and prompt.started_at is None:
            self._report_started(prompt, now)
        elif which == "end" and prompt.end_mark_sent:
            self._report_finished(now, mark_received=True)

    # Time

    def poll(self, now: float) -> list[SendCommand]:
        """Return what is due to be sent."""
        while (
            self._prompts
            and self._prompts[0].end_mark_sent
            and now >= self._prompts[0].ends_at + self._mark_grace_seconds
        ):
            self._report_finished(now, mark_received=False)
        due: list[SendCommand] = []
        for prompt in self._prompts:
            if not prompt.end_mark_sent:
                self._send_due(prompt, now, due)
                if not prompt.end_mark_sent:
                    break
        return due

    def next_poll(self) -> float | None:
        """Return when to poll next if nothing else happens."""
        times = (
            [self._prompts[0].ends_at + self._mark_grace_seconds]
            if self._prompts and self._prompts[0].end_mark_sent
            else []
        )
        sending = next((prompt for prompt in self._prompts if not prompt.end_mark_sent), None)
        if sending and sending.pending:
            times.append(self._buffer_empty_at - self._max_lead_seconds + self._chunk_bytes / SAMPLE_RATE)
        return min(times, default=None)

    def events(self) -> list[PlayoutEvent]:
        """Return the events since the last call, in order."""
        events, self._events = self._events, []
        return events

    def _send_due(self, prompt: _Prompt, now: float, due: list[SendCommand]) -> None:
        if not prompt.start_mark_sent and (prompt.pending or prompt.complete):
            prompt.start_mark_sent = True
            prompt.starts_at = max(now, self._buffer_empty_at)
            due.append(SendMark(f"{prompt.name}.begin"))
        # After a stall more than one chunk is due. At next_poll the room is exactly one chunk.
        room = round((now + self._max_lead_seconds - max(now, self._buffer_empty_at)) * SAMPLE_RATE)
        count = min(len(prompt.pending), max(0, room))
        if count >= self._chunk_bytes or (count and count == len(prompt.pending)):
            self._send_audio(prompt, count, now, due)
        if prompt.complete and not prompt.pending:
            prompt.end_mark_sent = True
            prompt.ends_at = max(now, self._buffer_empty_at)
            due.append(SendMark(f"{prompt.name}.end"))

    def _send_audio(self, prompt: _Prompt, count: int, now: float, due: list[SendCommand]) -> None:
        if prompt.sent_bytes and self._buffer_empty_at < now:
            prompt.late_seconds += now - self._buffer_empty_at
        audio = bytes(prompt.pending[:count])
        del prompt.pending[:count]
        prompt.sent_bytes += count
        starts_at = max(now, self._buffer_empty_at)
        self._buffer_empty_at = starts_at + count / SAMPLE_RATE
        step = 2 * self._chunk_bytes
        due.extend(
            SendAudio(audio[offset : offset + step], prompt.name, starts_at + offset / SAMPLE_RATE)
            for offset in range(0, count, step)
        )

    def _report_started(self, prompt: _Prompt, at: float) -> None:
        prompt.started_at = at
        self._events.append(PromptStarted(prompt.name, at))

    def _report_finished(self, now: float, *, mark_received: bool) -> None:
        prompt = self._prompts.popleft()
        if prompt.started_at is None:
            self._report_started(prompt, min(now, prompt.starts_at) if prompt.start_mark_sent else now)
        self._events.append(PromptFinished(prompt.name, now, prompt.late_seconds, mark_received))

    def _find(self, name: str) -> _Prompt | None:
        return next((prompt for prompt in self._prompts if prompt.name == name), None)
