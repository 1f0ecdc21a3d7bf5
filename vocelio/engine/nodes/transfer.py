"""transfer: connect the caller to a department, a number or a SIP address."""

import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.call_info import E164
from vocelio.engine.diagnostics import Problem
from vocelio.engine.events import AnyEvent, TransferEnded
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run
from vocelio.engine.templating.template import Template

SIP = re.compile(r"sips?:[^\s@<>\"]{1,100}@[^\s@<>\"]{1,200}")


def e164(path: str, number: str) -> Iterable[Problem]:
    """Whether it is a telephone number as the network writes it."""
    if number and not E164.fullmatch(number):
        figures = re.sub(r"[^0-9]", "", number)
        national = figures.removeprefix("1")
        hint = f"write `+1{national}`, if it is North American" if len(national) == 10 else "such as `+13075550100`"
        yield Problem(path, "e164", f"`{number[:40]}` is not a number in E.164 form: + and 7 to 15 digits", hint)


class Transfer(Node, frozen=True, kw_only=True):
    """The call comes back by the exit that says how ringing ended; after an answer it has usually ended.

    ``timeout`` is seconds of ringing and ``ring`` how a department's numbers are rung, where they differ from the
    department's own. Who answers hears ``whisper`` first.
    """

    type: ClassVar[str] = "transfer"
    exit_names: ClassVar[tuple[str, ...]] = ("answered", "busy", "no_answer", "failed")
    waits: ClassVar[bool] = True
    results: ClassVar[tuple[str, ...]] = ("value", "seconds")

    department: str = ""
    number: str = ""
    sip: str = ""
    timeout: Annotated[float, Meta(ge=0, le=600)] = 0.0
    whisper: Template | None = None
    caller_id: str = ""
    ring: Literal["in_turn", "together", ""] = ""

    def enter(self, run: Run) -> None:
        departments = run.state.facts.departments
        if self.department and departments and self.department not in departments:
            run.problem(f"there is no department `{self.department[:64]}`")
            self._ended(run, "failed", 0.0)
            return
        run.transfer(
            department=self.department,
            number=self.number,
            sip=self.sip,
            timeout=self.timeout,
            whisper=run.text(self.whisper) if self.whisper else "",
            caller_id=self.caller_id,
            ring=self.ring,
            sensitive=run.confidential(self.whisper),
        )

    def receive(self, run: Run, event: AnyEvent) -> None:
        if isinstance(event, TransferEnded):
            self._ended(run, event.how, event.seconds)

    def resume(self, run: Run) -> None:
        """The stream is always lost in a transfer: nobody is rung twice, the caller goes on by ``failed``."""
        self._ended(run, "failed", 0.0)

    def _ended(self, run: Run, how: str, seconds: float) -> None:
        run.result(value=how, seconds=seconds)
        run.leave(how, goodbye=how != "answered")

    def problems(self, path: str) -> Iterable[Problem]:
        named = [name for name in ("department", "number", "sip") if getattr(self, name)]
        if len(named) != 1:
            yield Problem(path, "transfer-target", "a transfer names one of department, number and sip")
        yield from e164(f"{path}.number", self.number)
        yield from e164(f"{path}.caller_id", self.caller_id)
        if self.sip and not SIP.fullmatch(self.sip):
            yield Problem(f"{path}.sip", "sip", "not a SIP address", "such as `sip:desk@pbx.example.com`")
        if self.ring and not self.department:
            yield Problem(f"{path}.ring", "ring", "only a department has several numbers to ring", severity="warning")
