"""queue: let the caller wait for a free agent of a department."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.events import AnyEvent, QueueEnded
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext


class Queue(Node, frozen=True, kw_only=True):
    """Leaves by the reason why the wait ended.

    ``max_wait`` is seconds. After ``answered`` the call has usually ended.
    """

    type: ClassVar[str] = "queue"
    exit_names: ClassVar[tuple[str, ...]] = ("answered", "timeout", "callback", "failed")
    waits: ClassVar[bool] = True
    result_names: ClassVar[tuple[str, ...]] = ("value",)

    department: Annotated[str, Meta(min_length=1, max_length=100)]
    music: Annotated[str, Meta(max_length=500)] = ""
    announce_position: bool = False
    max_wait: Annotated[float, Meta(gt=0, le=7_200)] = 600.0
    offer_callback: bool = False

    def on_enter(self, context: NodeContext) -> None:
        departments = context.state.call_info.departments
        if departments and self.department not in departments:
            context.report_problem(f"there is no department `{self.department[:64]}`")
            self._finish(context, "failed")
            return
        context.enqueue_caller(
            department=self.department,
            music=self.music,
            announce_position=self.announce_position,
            max_wait_seconds=self.max_wait,
            offer_callback=self.offer_callback,
        )

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        if isinstance(event, QueueEnded):
            self._finish(context, event.result)

    def on_resume(self, context: NodeContext) -> None:
        """Leave by ``failed``: the place in the queue is lost with the stream."""
        self._finish(context, "failed")

    def _finish(self, context: NodeContext, result: str) -> None:
        context.set_result(value=result)
        context.take_exit(result, say_goodbye=result != "answered")

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if "callback" in self.exits and not self.offer_callback:
            message = "the caller is not offered a callback"
            yield Diagnostic(f"{path}.exits.callback", "no-callback", message, "set `offer_callback`", "warning")
