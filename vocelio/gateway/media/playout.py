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

LEAD = 2.0  # seconds: outlasts a garbage collection, a slow commit or a noisy neighbour
PIECE = 1600  # bytes, 200 ms: a tenth of the messages that 20 ms would take
MARK_GRACE = 3.0  # seconds after its sound must have ended that an end mark is waited for
ROOM = 80_000  # bytes, 10 s: how far a synthesizer may run ahead of what has been sent


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Sound to send now: part of the prompt, to be heard from ``starts`` on, by the computed buffer."""

    mulaw: bytes
    prompt: str = field(default="", compare=False)
    starts: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SendMark:
    """A mark to send now."""

    name: str


@dataclass(frozen=True, slots=True)
class SendClear:
    """Tell Twilio to forget what it holds."""


Send = SendAudio | SendMark | SendClear


@dataclass(frozen=True, slots=True)
class Began:
    """The prompt's first sound is in the caller's ear."""

    prompt: str
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The prompt was played to its end. ``late`` seconds of silence fell into it; ``marked``: its mark came."""

    prompt: str
    at: float
    late: float
    marked: bool = True


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The prompt was cleared when ``heard`` seconds of it had been played."""

    prompt: str
    at: float
    heard: float
    late: float


PlayoutEvent = Began | Ended | Interrupted


@dataclass(slots=True)
class _Prompt:
    name: str
    pending: bytearray = field(default_factory=bytearray)
    complete: bool = False
    opened: bool = False  # its first mark has been sent
    closed: bool = False  # its last mark has been sent
    sent: int = 0
    starts: float = 0.0  # when its first sound should be heard, by the computed buffer
    began: float | None = None  # when it was, by the mark
    ends: float = 0.0
    late: float = 0.0


class Playout:
    """What one stream plays."""

    def __init__(self, lead: float = LEAD, piece: int = PIECE, grace: float = MARK_GRACE) -> None:
        self._lead, self._piece, self._grace = lead, piece, grace
        self._prompts: deque[_Prompt] = deque()
        self._empty_at = 0.0  # when Twilio's buffer runs empty
        self._events: list[PlayoutEvent] = []

    # From the call

    def begin(self, prompt: str) -> None:
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
        return held is not None and len(held.pending) < ROOM

    def holds(self, prompt: str) -> bool:
        """Whether the prompt is still to be heard to its end."""
        return self._find(prompt) is not None

    def clear(self, now: float) -> list[Send]:
        """Barge-in: everything stops; what was heard of each prompt follows as events."""
        prompts, self._prompts = self._prompts, deque()
        for prompt in prompts:
            began = prompt.starts if prompt.began is None else prompt.began
            heard = min(now - began, prompt.sent / SAMPLE_RATE) if prompt.sent else 0.0
            self._events.append(Interrupted(prompt.name, now, max(0.0, heard), prompt.late))
        held = any(prompt.opened for prompt in prompts)
        self._empty_at = min(self._empty_at, now)
        return [SendClear()] if held else []

    # From Twilio

    def marked(self, name: str, now: float) -> None:
        """A mark came back. One that is not of a prompt still here is older than a clear: nothing to know."""
        prompt_name, _, which = name.rpartition(".")
        if self._find(prompt_name) is None:
            return
        while self._prompts[0].name != prompt_name:  # marks come in order: the earlier ones were lost
            self._end(now, marked=False)
        prompt = self._prompts[0]
        if which == "begin" and prompt.began is None:
            self._began(prompt, now)
        elif which == "end" and prompt.closed:
            self._end(now, marked=True)

    # Time

    def poll(self, now: float) -> list[Send]:
        """What is due to be sent."""
        while self._prompts and self._prompts[0].closed and now >= self._prompts[0].ends + self._grace:
            self._end(now, marked=False)
        due: list[Send] = []
        for prompt in self._prompts:
            if not prompt.closed:
                self._send(prompt, now, due)
                if not prompt.closed:
                    break
        return due

    def next_poll(self) -> float | None:
        """When to poll next if nothing else happens."""
        times = [self._prompts[0].ends + self._grace] if self._prompts and self._prompts[0].closed else []
        sending = next((prompt for prompt in self._prompts if not prompt.closed), None)
        if sending and sending.pending:
            times.append(self._empty_at - self._lead + self._piece / SAMPLE_RATE)
        return min(times, default=None)

    def events(self) -> list[PlayoutEvent]:
        """What became known since the last time, in order."""
        events, self._events = self._events, []
        return events

    def _send(self, prompt: _Prompt, now: float, due: list[Send]) -> None:
        if not prompt.opened and (prompt.pending or prompt.complete):
            prompt.opened = True
            prompt.starts = max(now, self._empty_at)
            due.append(SendMark(f"{prompt.name}.begin"))
        # After a slow moment more than one piece is due; together they are one message.
        room = round((now + self._lead - max(now, self._empty_at)) * SAMPLE_RATE)  # at next_poll: just one piece
        count = min(len(prompt.pending), max(0, room))
        if count >= self._piece or (count and count == len(prompt.pending)):
            self._take(prompt, count, now, due)
        if prompt.complete and not prompt.pending:
            prompt.closed = True
            prompt.ends = max(now, self._empty_at)
            due.append(SendMark(f"{prompt.name}.end"))

    def _take(self, prompt: _Prompt, count: int, now: float, due: list[Send]) -> None:
        if prompt.sent and self._empty_at < now:
            prompt.late += now - self._empty_at
        sound = bytes(prompt.pending[:count])
        del prompt.pending[:count]
        prompt.sent += count
        starts = max(now, self._empty_at)
        self._empty_at = starts + count / SAMPLE_RATE
        step = 2 * self._piece
        due.extend(
            SendAudio(sound[place : place + step], prompt.name, starts + place / SAMPLE_RATE)
            for place in range(0, count, step)
        )

    def _began(self, prompt: _Prompt, at: float) -> None:
        prompt.began = at
        self._events.append(Began(prompt.name, at))

    def _end(self, now: float, *, marked: bool) -> None:
        prompt = self._prompts.popleft()
        if prompt.began is None:
            self._began(prompt, min(now, prompt.starts) if prompt.opened else now)
        self._events.append(Ended(prompt.name, now, prompt.late, marked))

    def _find(self, name: str) -> _Prompt | None:
        return next((prompt for prompt in self._prompts if prompt.name == name), None)
