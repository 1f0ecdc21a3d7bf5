"""end: return from a subflow by a named exit; in a call's own flow, hang up."""

from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext


class End(Node, frozen=True, kw_only=True):
    """``name`` is the exit of the subflow node that called this flow, or the call's disposition."""

    type: ClassVar[str] = "end"
    exit_names: ClassVar[tuple[str, ...]] = ()

    name: Annotated[str, Meta(min_length=1, max_length=64)]

    def on_enter(self, context: NodeContext) -> None:
        context.return_from_flow(self.name)
