"""decide: leave by the first rule that holds."""

from typing import ClassVar

import msgspec

from vocelio.engine.node import Node
from vocelio.engine.run import Run
from vocelio.engine.templates import Condition


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way out, and when it is taken."""

    when: Condition
    exit: str


class Decide(Node, frozen=True, kw_only=True):
    """The rules are tried in order; a condition that cannot be told counts as false."""

    type: ClassVar[str] = "decide"

    rules: list[Rule]

    def ways_out(self) -> tuple[str, ...]:
        return (*(rule.exit for rule in self.rules), "else")

    def enter(self, run: Run) -> None:
        run.leave(next((rule.exit for rule in self.rules if run.holds(rule.when)), "else"))
