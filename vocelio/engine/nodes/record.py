"""record: let the caller leave a message."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.events import AnyEvent, KeyPressed, PromptFinished, PromptInterrupted, RecordingEnded, TimerFired
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import Template

MIN_MESSAGE_SECONDS = 1.0  # a shorter recording is the click of a hang-up
RESULT_GRACE_SECONDS = 15.0  # after max_seconds; later results are given up


class Record(Node, frozen=True, kw_only=True):
    """Records after the prompt and the beep.

    The recording ends when the caller is silent for ``silence_seconds`` or presses ``terminator``, or after
    ``max_seconds``. ``save_as`` is the variable that gets the recording's URL.
    """

    type: ClassVar[str] = "record"
    exit_names: ClassVar[tuple[str, ...]] = ("done", "empty")
    waits: ClassVar[bool] = True
    result_names: ClassVar[tuple[str, ...]] = ("url", "seconds")

    prompt: Template | None = None
    max_seconds: Annotated[float, Meta(ge=1, le=3_600)] = 120.0
    silence_seconds: Annotated[float, Meta(ge=0.5, le=60)] = 3.0
    beep: bool = True
    terminator: Literal["", "#", "*"] = "#"
    save_as: str = ""

    def assigned_variables(self) -> tuple[str, ...]:
        return (self.save_as,) if self.save_as else ()

    def on_enter(self, context: NodeContext) -> None:
        if self.prompt is None or not context.speak_template(self.prompt):
            self._start_recording(context)

    def _start_recording(self, context: NodeContext) -> None:
        context.consume_keys()
        context.start_recording(max_seconds=self.max_seconds, silence_seconds=self.silence_seconds, beep=self.beep)
        context.start_timer("overdue", self.max_seconds + RESULT_GRACE_SECONDS)

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        match event:
            case PromptFinished() | PromptInterrupted():
                self._start_recording(context)
            case KeyPressed() if context.consume_keys() == self.terminator != "":
                context.stop_recording()
            case RecordingEnded():
                self._finish(context, event.duration_seconds, event.url)
            case TimerFired():
                self._finish(context, 0.0, "")
            case _:
                pass

    def _finish(self, context: NodeContext, seconds: float, url: str) -> None:
        empty = seconds < MIN_MESSAGE_SECONDS
        context.set_result(url="" if empty else url, seconds=seconds)
        if self.save_as:
            context.set_variable(self.save_as, None if empty else url)
        context.take_exit("empty" if empty else "done")
