"""split: distribute callers over exits by weight; the same caller always takes the same exit."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext

Weight = Annotated[float, Meta(ge=0, le=1_000_000)]


class Split(Node, frozen=True, kw_only=True):
    """``weights`` are relative shares by exit.

    The exit is a hash of the caller's number, so repeated calls take the same exit; the call's seed replaces a withheld
    number.
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
        call_info = context.state.call_info
        hash_input = f"{call_info.tenant.id}/{context.state.node}/{call_info.caller or call_info.seed}"
        position = int.from_bytes(sha256(hash_input.encode()).digest()[:8], "big") / 2**64 * sum(self.weights.values())
        weighted_exits = [name for name, weight in self.weights.items() if weight]
        for name in weighted_exits:
            position -= self.weights[name]
            if position < 0:
                return name
        return weighted_exits[-1]

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if not any(self.weights.values()):
            yield Diagnostic(f"{path}.weights", "no-weight", "at least one weight must be above 0")
