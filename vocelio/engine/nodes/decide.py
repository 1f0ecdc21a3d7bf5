"""decide: take the exit of the first rule whose condition is true."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import Condition


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An exit and its condition."""

    when: Condition
    exit: Annotated[str, Meta(min_length=1, max_length=64)]


class Decide(Node, frozen=True, kw_only=True):
    """Evaluates the rules in order; a condition that fails to evaluate counts as false. Default exit: ``else``."""

    type: ClassVar[str] = "decide"

    rules: Annotated[list[Rule], Meta(max_length=100)]

    def possible_exits(self) -> tuple[str, ...]:
        return (*dict.fromkeys(rule.exit for rule in self.rules), "else")

    def on_enter(self, context: NodeContext) -> None:
        context.take_exit(next((rule.exit for rule in self.rules if context.evaluate(rule.when)), "else"))

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if not self.rules:
            yield Diagnostic(f"{path}.rules", "no-rules", "a decide node has at least one rule")
