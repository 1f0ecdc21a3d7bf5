"""split: send callers different ways, each in its share, and every caller always the same way."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext

Weight = Annotated[float, Meta(ge=0, le=1_000_000)]


class Split(Node, frozen=True, kw_only=True):
    """``weights`` are shares of their sum. No chance is in it: the caller's number decides, so that whoever calls
    again goes the same way; with a number withheld, the call's seed does.
    """

    type: ClassVar[str] = "split"
    result_names: ClassVar[tuple[str, ...]] = ("value",)

    weights: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Weight], Meta(min_length=1, max_length=50)
    ]

    def possible_exits(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def on_enter(self, context: NodeContext) -> None:
        exit_name = self._choose_exit(context)
        context.set_result(value=exit_name)
        context.take_exit(exit_name)

    def _choose_exit(self, context: NodeContext) -> str:
        facts = context.state.call_info
        who = f"{facts.tenant.id}/{context.state.node}/{facts.caller or facts.seed}"
        left = int.from_bytes(sha256(who.encode()).digest()[:8], "big") / 2**64 * sum(self.weights.values())
        taken = [name for name, weight in self.weights.items() if weight]
        for name in taken:
            left -= self.weights[name]
            if left < 0:
                return name
        return taken[-1]

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if not any(self.weights.values()):
            yield Diagnostic(f"{path}.weights", "no-weight", "at least one weight is above 0")
