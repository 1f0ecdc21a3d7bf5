"""wait: pause silently."""

from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.events import AnyEvent, TimerFired
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext


class Wait(Node, frozen=True, kw_only=True):
    """Waits for ``seconds``. Keys pressed meanwhile are buffered for the next question."""

    type: ClassVar[str] = "wait"
    waits: ClassVar[bool] = True

    seconds: Annotated[float, Meta(gt=0, le=600)]

    def on_enter(self, context: NodeContext) -> None:
        context.start_timer("wait", self.seconds)

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        if isinstance(event, TimerFired):
            context.take_exit("next")
