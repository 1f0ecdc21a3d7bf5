"""echo: send the caller's own audio back, to test the connection."""

from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.events import AnyEvent, TimerFired
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext


class Echo(Node, frozen=True, kw_only=True):
    """Sends every audio frame back for ``seconds``."""

    type: ClassVar[str] = "echo"
    waits: ClassVar[bool] = True

    seconds: Annotated[float, Meta(gt=0, le=3600)]

    def on_enter(self, context: NodeContext) -> None:
        context.set_echo(True)
        context.start_timer("echo", self.seconds)

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        if isinstance(event, TimerFired):
            context.take_exit("next")
