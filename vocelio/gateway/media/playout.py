"""Playout, sans-IO: what is sent towards the caller, when, and what of it has been heard.

Twilio buffers what it is sent and plays it in order. So a prompt is sent ahead of real time, but never more
than ``LEAD`` seconds ahead: a barge-in then has little to clear, and a busy event loop is no gap in what the
caller hears. A mark goes before a prompt's first sound and one behind its last; when they come back, the
prompt has begun, and has ended, in the caller's ear. A mark that never comes back hits a deadline.

Feed it time in seconds of any one clock. ``poll`` gives what is due; ``events`` what has become known.
"""

from collections import deque
from dataclasses import dataclass, field

from vocelio.codecs.mulaw import SAMPLE_RATE

MAX_LEAD_SECONDS = 2.0  # seconds: outlasts a garbage collection, a slow commit or a noisy neighbour
CHUNK_BYTES = 1600  # bytes, 200 ms: a tenth of the messages that 20 ms would take
MARK_GRACE_SECONDS = 3.0  # seconds after its sound must have ended that an end mark is waited for
SYNTH_BUFFER_BYTES = 80_000  # bytes, 10 s: how far a synthesizer may run ahead of what has been sent


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Sound to send now: part of the prompt, to be heard from ``starts`` on, by the computed buffer."""

    mulaw: bytes
    prompt: str = field(default="", compare=False)
    starts_at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SendMark:
    """A mark to send now."""

    name: str


@dataclass(frozen=True, slots=True)
class SendClear:
    """Tell Twilio to forget what it holds."""


SendCommand = SendAudio | SendMark | SendClear


@dataclass(frozen=True, slots=True)
class PromptStarted:
    """The prompt's first sound is in the caller's ear."""

    prompt: str
    at: float


@dataclass(frozen=True, slots=True)
class PromptFinished:
    """The prompt was played to its end. ``late`` seconds of silence fell into it; ``marked``: its mark came."""

    prompt: str
    at: float
    late_seconds: float
    mark_received: bool = True


@dataclass(frozen=True, slots=True)
class PromptInterrupted:
    """The prompt was cleared when ``heard`` seconds of it had been played."""

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
    start_mark_sent: bool = False  # its first mark has been sent
    end_mark_sent: bool = False  # its last mark has been sent
    sent_bytes: int = 0
    starts_at: float = 0.0  # when its first sound should be heard, by the computed buffer
    started_at: float | None = None  # when it was, by the mark
    ends_at: float = 0.0
    late_seconds: float = 0.0


class Playout:
    """What one stream plays."""

    def __init__(
        self,
        max_lead_seconds: float = MAX_LEAD_SECONDS,
        chunk_bytes: int = CHUNK_BYTES,
        mark_grace_seconds: float = MARK_GRACE_SECONDS,
    ) -> None:
        self._max_lead_seconds, self._chunk_bytes, self._mark_grace_seconds = (
            max_lead_seconds,
            chunk_bytes,
            mark_grace_seconds,
        )
        self._prompts: deque[_Prompt] = deque()
        self._buffer_empty_at = 0.0  # when Twilio's buffer runs empty
        self._events: list[PlayoutEvent] = []

    # From the call

    def start(self, prompt: str) -> None:
        """A prompt follows, behind those already here; its name is never used again."""
        self._prompts.append(_Prompt(prompt))

    def feed(self, prompt: str, mulaw: bytes) -> None:
        """More of the prompt's sound. What comes for a prompt that is gone is dropped."""
        if held := self._find(prompt):
            held.pending += mulaw

    def finish(self, prompt: str) -> None:
        """The prompt's sound is complete."""
        if held := self._find(prompt):
            held.complete = True

    def has_room(self, prompt: str) -> bool:
        """Whether more of its sound should be made now; false also when the prompt is gone."""
        held = self._find(prompt)
        return held is not None and len(held.pending) < SYNTH_BUFFER_BYTES

    def has_prompt(self, prompt: str) -> bool:
        """Whether the prompt is still to be heard to its end."""
        return self._find(prompt) is not None

    def clear(self, now: float) -> list[SendCommand]:
        """Barge-in: everything stops; what was heard of each prompt follows as events."""
        prompts, self._prompts = self._prompts, deque()
        for prompt in prompts:
            began = prompt.starts_at if prompt.started_at is None else prompt.started_at
            heard = min(now - began, prompt.sent_bytes / SAMPLE_RATE) if prompt.sent_bytes else 0.0
            self._events.append(PromptInterrupted(prompt.name, now, max(0.0, heard), prompt.late_seconds))
        held = any(prompt.start_mark_sent for prompt in prompts)
        self._buffer_empty_at = min(self._buffer_empty_at, now)
        return [SendClear()] if held else []

    # From Twilio

    def on_mark(self, name: str, now: float) -> None:
        """A mark came back. One that is not of a prompt still here is older than a clear: nothing to know."""
        prompt_name, _, which = name.rpartition(".")
        if self._find(prompt_name) is None:
            return
        while self._prompts[0].name != prompt_name:  # marks come in order: the earlier ones were lost
            self._report_finished(now, mark_received=False)
        prompt = self._prompts[0]
        if which == "begin" and prompt.started_at is None:
            self._report_started(prompt, now)
        elif which == "end" and prompt.end_mark_sent:
            self._report_finished(now, mark_received=True)

    # Time

    def poll(self, now: float) -> list[SendCommand]:
        """What is due to be sent."""
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
        """When to poll next if nothing else happens."""
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
        """What became known since the last time, in order."""
        events, self._events = self._events, []
        return events

    def _send_due(self, prompt: _Prompt, now: float, due: list[SendCommand]) -> None:
        if not prompt.start_mark_sent and (prompt.pending or prompt.complete):
            prompt.start_mark_sent = True
            prompt.starts_at = max(now, self._buffer_empty_at)
            due.append(SendMark(f"{prompt.name}.begin"))
        # After a slow moment more than one piece is due; together they are one message.
        room = round(
            (now + self._max_lead_seconds - max(now, self._buffer_empty_at)) * SAMPLE_RATE
        )  # at next_poll: just one piece
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
        sound = bytes(prompt.pending[:count])
        del prompt.pending[:count]
        prompt.sent_bytes += count
        starts = max(now, self._buffer_empty_at)
        self._buffer_empty_at = starts + count / SAMPLE_RATE
        step = 2 * self._chunk_bytes
        due.extend(
            SendAudio(sound[place : place + step], prompt.name, starts + place / SAMPLE_RATE)
            for place in range(0, count, step)
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
