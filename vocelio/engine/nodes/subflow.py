"""subflow: go through another flow, in the version that was pinned when this one was promoted."""

from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import TemplateValue


class Subflow(Node, frozen=True, kw_only=True):
    """The other flow's ends are this node's exits; ``next`` serves those that are left out.

    ``inputs`` give the other flow's variables their first values; ``outputs`` name, for variables of this flow,
    the other flow's variables that they are taken from. Version 0 is the newest. It speaks in this flow's voice.
    """

    type: ClassVar[str] = "subflow"
    result_names: ClassVar[tuple[str, ...]] = ("value",)

    flow: Annotated[str, Meta(min_length=1, max_length=100)]
    version: Annotated[int, Meta(ge=0)] = 0
    inputs: dict[str, TemplateValue] = {}
    outputs: dict[str, str] = {}

    @property
    def reference(self) -> str:
        """The other flow's version, as ``FlowVersion.subflows`` names it."""
        return f"{self.flow}@{self.version}" if self.version else self.flow

    def possible_exits(self) -> tuple[str, ...]:
        """Which ends the other flow has is known where its version is."""
        return tuple(dict.fromkeys((*self.exits, "next")))

    def target_of(self, exit_name: str) -> str | None:
        return self.exits.get(exit_name, self.exits.get("next"))

    def assigned_variables(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def on_enter(self, context: NodeContext) -> None:
        context.call_subflow(self.reference, self.inputs)
