"""say: play a text or a stored sound."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.events import AnyEvent, PromptFinished, PromptInterrupted
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import Template
from vocelio.engine.voice import Voice


class Say(Node, frozen=True, kw_only=True):
    """Plays one prompt. When the caller barges in the flow continues, and the next question hears the utterance.

    ``audio`` is the name of a stored sound. A blank text is skipped.
    """

    type: ClassVar[str] = "say"

    text: Template | None = None
    audio: Annotated[str, Meta(max_length=500)] = ""
    barge_in: bool = True
    voice: Voice | None = None

    def on_enter(self, context: NodeContext) -> None:
        if self.barge_in and context.caller_is_speaking:
            context.take_exit("next")
        elif self.audio:
            context.speak("", barge_in=self.barge_in, voice=self.voice, audio=self.audio)
        elif self.text is None or not context.speak_template(self.text, barge_in=self.barge_in, voice=self.voice):
            context.take_exit("next")

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        if isinstance(event, PromptFinished | PromptInterrupted):
            context.take_exit("next")

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if (self.text is None) == (not self.audio):
            yield Diagnostic(path, "text-or-audio", "a say node has either `text` or `audio`")
        if self.text is not None and not self.text.source.strip():
            yield Diagnostic(f"{path}.text", "empty-text", "the text is blank", severity="warning")
