"""say: play a text or a stored sound, and go on."""

from typing import ClassVar

from vocelio.engine.events import AnyEvent, PromptFinished, PromptInterrupted
from vocelio.engine.node import Node
from vocelio.engine.run import Run
from vocelio.engine.templates import Template
from vocelio.engine.voice import Voice


class Say(Node, frozen=True, kw_only=True):
    """A caller who interrupts has heard enough: the flow goes on and hears what is being said."""

    type: ClassVar[str] = "say"

    text: Template
    barge_in: bool = True
    voice: Voice | None = None

    def enter(self, run: Run) -> None:
        if self.barge_in and run.caller_is_speaking:
            run.leave("next")
        else:
            run.speak(run.text(self.text), barge_in=self.barge_in, voice=self.voice)

    def receive(self, run: Run, event: AnyEvent) -> None:
        if isinstance(event, PromptFinished | PromptInterrupted):
            run.leave("next")
