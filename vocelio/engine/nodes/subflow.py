"""subflow: call another flow, in the version pinned when this one was promoted."""

from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import TemplateValue


class Subflow(Node, frozen=True, kw_only=True):
    """Calls another flow. Its ends are this node's exits; ``next`` is the exit for ends that are not connected.

    ``inputs`` are initial values of the other flow's variables; ``outputs`` map variables of this flow to variables of
    the other one. Version 0 is the newest. The other flow starts with this flow's voice.
    """

    type: ClassVar[str] = "subflow"
    result_names: ClassVar[tuple[str, ...]] = ("value",)

    flow: Annotated[str, Meta(min_length=1, max_length=100)]
    version: Annotated[int, Meta(ge=0)] = 0
    inputs: dict[str, TemplateValue] = {}
    outputs: dict[str, str] = {}

    @property
    def reference(self) -> str:
        """The key of the other flow's version in ``FlowVersion.subflows``."""
        return f"{self.flow}@{self.version}" if self.version else self.flow

    def possible_exits(self) -> tuple[str, ...]:
        """Return the connected exits and ``next``; the other flow's ends are only known with its version."""
        return tuple(dict.fromkeys((*self.exits, "next")))

    def target_of(self, exit_name: str) -> str | None:
        return self.exits.get(exit_name, self.exits.get("next"))

    def assigned_variables(self) -> tuple[str, ...]:
        return tuple(self.outputs)

    def on_enter(self, context: NodeContext) -> None:
        context.call_subflow(self.reference, self.inputs)
