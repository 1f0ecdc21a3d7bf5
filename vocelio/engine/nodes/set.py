"""set: give variables their values."""

from typing import ClassVar

from vocelio.engine.node import Node
from vocelio.engine.run import Run
from vocelio.engine.templates import Value


class Set(Node, frozen=True, kw_only=True):
    """Each value is a literal or a template; a template that is one single ``{{ ... }}`` keeps its type."""

    type: ClassVar[str] = "set"

    values: dict[str, Value]

    def enter(self, run: Run) -> None:
        for name, value in self.values.items():
            run.set(name, run.value(value))
        run.leave("next")
