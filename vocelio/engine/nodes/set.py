"""set: give variables their values."""

from collections.abc import Iterable
from typing import ClassVar

from vocelio.engine.diagnostics import Problem
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run
from vocelio.engine.templating.template import Value


class Set(Node, frozen=True, kw_only=True):
    """Each value is a literal or a template; a template that is one single ``{{ ... }}`` keeps its type.

    In document order, so that a later value can read an earlier one. What is made of a sensitive variable is
    sensitive, too.
    """

    type: ClassVar[str] = "set"

    values: dict[str, Value]

    def variables(self) -> tuple[str, ...]:
        return tuple(self.values)

    def enter(self, run: Run) -> None:
        for name, value in self.values.items():
            run.set(name, run.value(value), sensitive=run.confidential(value))
        run.leave("next")

    def problems(self, path: str) -> Iterable[Problem]:
        if not self.values:
            yield Problem(f"{path}.values", "no-values", "a set node sets at least one variable")
