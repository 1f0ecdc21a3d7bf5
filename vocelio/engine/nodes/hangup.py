"""hangup: say an optional last text and end the call."""

from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import Template


class Hangup(Node, frozen=True, kw_only=True):
    """Ends the call after the last prompt has been played."""

    type: ClassVar[str] = "hangup"
    exit_names: ClassVar[tuple[str, ...]] = ()

    text: Template | None = None
    disposition: Annotated[str, Meta(max_length=64)] = ""

    def on_enter(self, context: NodeContext) -> None:
        text = context.render_text(self.text) if self.text else ""
        sensitive = context.reads_sensitive(self.text)
        context.cancel_pending()
        context.hang_up(text, disposition=self.disposition, sensitive=sensitive)
