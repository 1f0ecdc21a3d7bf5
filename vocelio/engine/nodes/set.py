"""set: assign variables."""

from collections.abc import Iterable
from typing import ClassVar

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import TemplateValue


class Set(Node, frozen=True, kw_only=True):
    """Assigns literals or templates; a template that is a single ``{{ ... }}`` keeps the type of its value.

    Values are assigned in document order, so a later one can read an earlier one. A value that reads a sensitive
    variable is sensitive, too.
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
