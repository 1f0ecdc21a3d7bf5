"""decide: leave by the first rule that holds."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Problem
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run
from vocelio.engine.templating.template import Condition


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way out, and when it is taken."""

    when: Condition
    exit: Annotated[str, Meta(min_length=1, max_length=64)]


class Decide(Node, frozen=True, kw_only=True):
    """The rules are tried in order; a condition that cannot be told counts as false."""

    type: ClassVar[str] = "decide"

    rules: Annotated[list[Rule], Meta(max_length=100)]

    def ways_out(self) -> tuple[str, ...]:
        return (*dict.fromkeys(rule.exit for rule in self.rules), "else")

    def enter(self, run: Run) -> None:
        run.leave(next((rule.exit for rule in self.rules if run.holds(rule.when)), "else"))

    def problems(self, path: str) -> Iterable[Problem]:
        if not self.rules:
            yield Problem(f"{path}.rules", "no-rules", "a decide node has at least one rule")
