"""hangup: say a last text, if there is one, and end the call."""

from typing import ClassVar

from vocelio.engine.node import Node
from vocelio.engine.run import Run
from vocelio.engine.templates import Template


class Hangup(Node, frozen=True, kw_only=True):
    """The line is cut only after the last word was heard."""

    type: ClassVar[str] = "hangup"
    exit_names: ClassVar[tuple[str, ...]] = ()

    text: Template | None = None
    disposition: str = ""

    def enter(self, run: Run) -> None:
        run.hang_up(run.text(self.text) if self.text else "", disposition=self.disposition)
