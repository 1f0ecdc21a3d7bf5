"""queue: let the caller wait until somebody of a department is free."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.diagnostics import Problem
from vocelio.engine.events import AnyEvent, QueueEnded
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run


class Queue(Node, frozen=True, kw_only=True):
    """``max_wait`` is seconds. What ends the waiting is the exit; after an answer the call has usually ended."""

    type: ClassVar[str] = "queue"
    exit_names: ClassVar[tuple[str, ...]] = ("answered", "timeout", "callback", "failed")
    waits: ClassVar[bool] = True
    results: ClassVar[tuple[str, ...]] = ("value",)

    department: Annotated[str, Meta(min_length=1, max_length=100)]
    music: Annotated[str, Meta(max_length=500)] = ""
    announce_position: bool = False
    max_wait: Annotated[float, Meta(gt=0, le=7_200)] = 600.0
    offer_callback: bool = False

    def enter(self, run: Run) -> None:
        departments = run.state.facts.departments
        if departments and self.department not in departments:
            run.problem(f"there is no department `{self.department[:64]}`")
            self._ended(run, "failed")
            return
        run.queue(
            department=self.department,
            music=self.music,
            announce_position=self.announce_position,
            max_wait=self.max_wait,
            offer_callback=self.offer_callback,
        )

    def receive(self, run: Run, event: AnyEvent) -> None:
        if isinstance(event, QueueEnded):
            self._ended(run, event.how)

    def resume(self, run: Run) -> None:
        """The place in the queue is lost with the stream."""
        self._ended(run, "failed")

    def _ended(self, run: Run, how: str) -> None:
        run.result(value=how)
        run.leave(how, goodbye=how != "answered")

    def problems(self, path: str) -> Iterable[Problem]:
        if "callback" in self.exits and not self.offer_callback:
            message = "the caller is offered no callback"
            yield Problem(f"{path}.exits.callback", "no-callback", message, "set `offer_callback`", "warning")
