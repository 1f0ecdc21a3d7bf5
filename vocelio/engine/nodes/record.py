"""record: let the caller leave a message."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.events import AnyEvent, KeyPressed, PromptFinished, PromptInterrupted, RecordingEnded, TimerFired
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run
from vocelio.engine.templating.template import Template

SHORTEST = 1.0  # seconds: less is the click of somebody hanging up
OVERDUE = 15.0  # seconds: a recording that never ends is not waited for


class Record(Node, frozen=True, kw_only=True):
    """After the prompt and the beep, until the caller is silent for ``silence_seconds``, presses ``terminator`` or
    has spoken for ``max_seconds``. ``save_as`` takes the address where the recording is kept.
    """

    type: ClassVar[str] = "record"
    exit_names: ClassVar[tuple[str, ...]] = ("done", "empty")
    waits: ClassVar[bool] = True
    results: ClassVar[tuple[str, ...]] = ("url", "seconds")

    prompt: Template | None = None
    max_seconds: Annotated[float, Meta(ge=1, le=3_600)] = 120.0
    silence_seconds: Annotated[float, Meta(ge=0.5, le=60)] = 3.0
    beep: bool = True
    terminator: Literal["", "#", "*"] = "#"
    save_as: str = ""

    def variables(self) -> tuple[str, ...]:
        return (self.save_as,) if self.save_as else ()

    def enter(self, run: Run) -> None:
        if self.prompt is None or not run.say(self.prompt):
            self._record(run)

    def _record(self, run: Run) -> None:
        run.take_keys()
        run.record(max_seconds=self.max_seconds, silence=self.silence_seconds, beep=self.beep)
        run.start_timer("overdue", self.max_seconds + OVERDUE)

    def receive(self, run: Run, event: AnyEvent) -> None:
        match event:
            case PromptFinished() | PromptInterrupted():
                self._record(run)
            case KeyPressed() if run.take_keys() == self.terminator != "":
                run.stop_recording()
            case RecordingEnded():
                self._ended(run, event.seconds, event.url)
            case TimerFired():
                self._ended(run, 0.0, "")
            case _:
                pass

    def _ended(self, run: Run, seconds: float, url: str) -> None:
        empty = seconds < SHORTEST
        run.result(url="" if empty else url, seconds=seconds)
        if self.save_as:
            run.set(self.save_as, None if empty else url)
        run.leave("empty" if empty else "done")
