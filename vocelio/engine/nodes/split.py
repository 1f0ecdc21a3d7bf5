"""split: send callers different ways, each in its share, and every caller always the same way."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.diagnostics import Problem
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run

Weight = Annotated[float, Meta(ge=0, le=1_000_000)]


class Split(Node, frozen=True, kw_only=True):
    """``weights`` are shares of their sum. No chance is in it: the caller's number decides, so that whoever calls
    again goes the same way; with a number withheld, the call's seed does.
    """

    type: ClassVar[str] = "split"
    results: ClassVar[tuple[str, ...]] = ("value",)

    weights: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Weight], Meta(min_length=1, max_length=50)
    ]

    def ways_out(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def enter(self, run: Run) -> None:
        exit_name = self._way(run)
        run.result(value=exit_name)
        run.leave(exit_name)

    def _way(self, run: Run) -> str:
        facts = run.state.facts
        who = f"{facts.tenant.id}/{run.state.node}/{facts.caller or facts.seed}"
        left = int.from_bytes(sha256(who.encode()).digest()[:8], "big") / 2**64 * sum(self.weights.values())
        taken = [name for name, weight in self.weights.items() if weight]
        for name in taken:
            left -= self.weights[name]
            if left < 0:
                return name
        return taken[-1]

    def problems(self, path: str) -> Iterable[Problem]:
        if not any(self.weights.values()):
            yield Problem(f"{path}.weights", "no-weight", "at least one weight is above 0")
