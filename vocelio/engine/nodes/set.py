"""set: give variables their values."""

from collections.abc import Iterable
from typing import ClassVar

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import TemplateValue


class Set(Node, frozen=True, kw_only=True):
    """Each value is a literal or a template; a template that is one single ``{{ ... }}`` keeps its type.

    In document order, so that a later value can read an earlier one. What is made of a sensitive variable is
    sensitive, too.
    """

    type: ClassVar[str] = "set"

    values: dict[str, TemplateValue]

    def assigned_variables(self) -> tuple[str, ...]:
        return tuple(self.values)

    def on_enter(self, context: NodeContext) -> None:
        for name, value in self.values.items():
            context.set_variable(name, context.render_value(value), sensitive=context.reads_sensitive(value))
        context.take_exit("next")

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if not self.values:
            yield Diagnostic(f"{path}.values", "no-values", "a set node sets at least one variable")
