"""transfer: connect the caller to a department, a number or a SIP address."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.events import AnyEvent, TransferEnded
from vocelio.engine.node import Node
from vocelio.engine.problems import Problem
from vocelio.engine.run import Run
from vocelio.engine.templates import Template


class Transfer(Node, frozen=True, kw_only=True):
    """The call comes back by the exit that says how ringing ended; after an answer it has usually ended."""

    type: ClassVar[str] = "transfer"
    exit_names: ClassVar[tuple[str, ...]] = ("answered", "busy", "no_answer", "failed")

    department: str = ""
    number: str = ""
    sip: str = ""
    timeout: Annotated[float, Meta(ge=0, le=600)] = 0.0
    whisper: Template | None = None
    caller_id: str = ""
    ring: Literal["in_turn", "together", ""] = ""

    def enter(self, run: Run) -> None:
        run.transfer(
            department=self.department,
            number=self.number,
            sip=self.sip,
            timeout=self.timeout,
            whisper=run.text(self.whisper) if self.whisper else "",
            caller_id=self.caller_id,
            ring=self.ring,
        )

    def receive(self, run: Run, event: AnyEvent) -> None:
        if isinstance(event, TransferEnded):
            run.result(value=event.how, seconds=event.seconds)
            run.leave(event.how, goodbye=event.how != "answered")

    def resume(self, run: Run) -> None:
        """The stream is always lost in a transfer: nobody is rung twice, the caller goes on by ``failed``."""
        run.leave("failed")

    def problems(self, path: str) -> Iterable[Problem]:
        named = [name for name in ("department", "number", "sip") if getattr(self, name)]
        if len(named) != 1:
            yield Problem(path, "transfer-target", "a transfer names one of department, number and sip")
