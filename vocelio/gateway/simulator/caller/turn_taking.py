"""The caller's turn-taking, sans-IO: fed each 20 ms that is played, gives the next 20 ms that is said.

Positions are samples on the line's clock. What the caller says in a frame is said before it can be sent, what is
played in the same tick is heard after that: hence the frame between ``_now`` and what is heard.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vocelio.gateway.simulator.caller.script import Cue, HangUp, MakeNoise, Press, StaySilent, Step
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, SAMPLE_RATE, SILENT_FRAME
from vocelio.gateway.simulator.media.voice_detection import Ear
from vocelio.gateway.simulator.report.events import CallerPresses, CallerSpeaks, Event, GatewayAnswers, Interrupts
from vocelio.gateway.simulator.report.report import Kind, Turn

SURE_SAMPLES = SAMPLE_RATE // 2
"""Sound that began before the caller had ended is an answer if it goes on for 0.5 s more."""


class Act(NamedTuple):
    """What the caller does in one frame."""

    audio: bytes = SILENT_FRAME
    key: str = ""
    hangs_up: bool = False


class _Open:
    """A turn that waits for its answer; ``first`` and ``last`` are where its audible part begins and has ended."""

    def __init__(self, cue: Cue, began: int, interrupted: bool) -> None:
        self.said = cue.said
        self.kind: Kind = _kind(cue.step)
        self.first = began + cue.first
        self.last = began + cue.last
        self.interrupted = interrupted
        self.cut_at: int | None = None  # the end of the gateway's speech that this turn cut short


class Performance:
    """One caller's script under way."""

    def __init__(self, cues: Sequence[Cue], quiet: float, tell: Callable[[Event], None], answered: float) -> None:
        """``answered`` is when the line's clock starts, in seconds since the call was placed: times are told so."""
        self.turns: list[Turn] = []
        self.steps_done = 0
        self._cues = tuple(cues)
        self._quiet = round(quiet * SAMPLE_RATE)
        self._tell = tell
        self._answered = answered
        self._ear = Ear()
        self._now = 0
        self._cue: Cue | None = None
        self._began = 0  # of the cue under way
        self._waiting_since = 0
        self._addressed: int | None = None  # since when the gateway has been speaking to the caller in this wait
        self._open: _Open | None = None

    def tick(self, played: bytes, cut: bool = False, listening: bool = True) -> Act:
        """One frame. ``cut`` tells of a ``clear``; not ``listening`` when Twilio or a callee talks with the caller."""
        self._hear(played, cut)
        if not listening:
            self._waiting_since, self._addressed = self._now, None
        if self._cue is None and listening:
            self._maybe_begin()
        act = self._perform()
        self._now += FRAME_SAMPLES
        return act

    def _hear(self, played: bytes, cut: bool) -> None:
        if cut:
            self._cut_short()
        if played is not SILENT_FRAME:
            self._ear.hear(played, self._now + FRAME_SAMPLES)
        if self._open and self._now >= self._open.last:
            self._measure(self._open)

    def _cut_short(self) -> None:
        turn = self._open
        if turn and turn.cut_at is None and self._ear.hears(self._now) and self._now >= turn.first:
            turn.cut_at = self._ear.last
        self._ear.cut()
        self._waiting_since = min(self._waiting_since, self._now)  # what is heard next is for the caller

    def _measure(self, turn: _Open) -> None:
        onset = self._ear.onset
        if onset < turn.first or (onset < turn.last and not self._is_sure(turn)):
            return
        latency = (onset - turn.last) * 1000 / SAMPLE_RATE
        self._close_turn(latency)
        self._tell(GatewayAnswers(self._seconds(onset), latency))

    def _is_sure(self, turn: _Open) -> bool:
        """Whether a sound that began before the caller had ended is an answer."""
        after_cut = turn.cut_at is not None and self._ear.onset > turn.cut_at
        return after_cut or self._ear.last >= turn.last + SURE_SAMPLES

    def _maybe_begin(self) -> None:
        if self.steps_done == len(self._cues):
            return
        self._follow_gateway()
        cue = self._cues[self.steps_done]
        waited = (self._now - self._waiting_since) / SAMPLE_RATE
        if waited >= cue.step.longest_wait or self._may_speak(cue.step.interrupt):
            self._begin(cue)

    def _follow_gateway(self) -> None:
        ear, since = self._ear, self._waiting_since
        if self._addressed is None and ear.onset >= since:
            self._addressed = ear.onset
        elif self._addressed is None and ear.last >= since + SURE_SAMPLES:
            self._addressed = since  # it began before the caller's step had ended, and goes on

    def _may_speak(self, interrupt: float | None) -> bool:
        if self._addressed is None:
            return False
        if interrupt is None:
            return self._now - self._ear.last >= self._quiet
        return self._now - self._addressed >= interrupt * SAMPLE_RATE

    def _begin(self, cue: Cue) -> None:
        self._close_turn(None)
        self._cue, self._began = cue, self._now
        interrupts = self._ear.hears(self._now) and not isinstance(cue.step, StaySilent | HangUp)
        if interrupts:
            self._tell(Interrupts(self._seconds(self._now)))
        if isinstance(cue.step, Press):
            self._tell(CallerPresses(self._seconds(self._now), cue.said))
        elif cue.audio:
            self._tell(CallerSpeaks(self._seconds(self._now), cue.said))
        if cue.audio or cue.keys:
            self._open = _Open(cue, self._began, interrupts)
        self._waiting_since, self._addressed = self._now + cue.last, None

    def _perform(self) -> Act:
        cue = self._cue
        if cue is None:
            return _SILENT
        index = (self._now - self._began) // FRAME_SAMPLES
        if index + 1 >= cue.frames:
            self._cue = None
            self.steps_done += 1
        return Act(cue.frame(index), cue.key(index), hangs_up=isinstance(cue.step, HangUp))

    def _close_turn(self, latency: float | None) -> None:
        turn, self._open = self._open, None
        if turn:
            self.turns.append(self._turn(turn, latency))

    def _turn(self, turn: _Open, latency: float | None) -> Turn:
        silenced = None if turn.cut_at is None else (turn.cut_at - turn.first) * 1000 / SAMPLE_RATE
        began, ended = self._seconds(turn.first), self._seconds(turn.last)
        return Turn(turn.kind, turn.said, began, ended, latency, turn.interrupted, silenced)

    def finish(self) -> tuple[Turn, ...]:
        """The call is over: the turns, the last one as far as it got."""
        self._close_turn(None)
        return tuple(self.turns)

    def _seconds(self, position: int) -> float:
        return self._answered + position / SAMPLE_RATE


def _kind(step: Step) -> Kind:
    if isinstance(step, Press):
        return "keys"
    return "noise" if isinstance(step, MakeNoise) else "speech"


_SILENT = Act()
