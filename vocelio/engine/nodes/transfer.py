"""transfer: connect the caller to a department, a number or a SIP address."""

import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.call_info import E164_PATTERN
from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.events import AnyEvent, TransferEnded
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.templating.template import Template

SIP_URI_PATTERN = re.compile(r"sips?:[^\s@<>\"]{1,100}@[^\s@<>\"]{1,200}")


def check_e164(path: str, number: str) -> Iterable[Diagnostic]:
    """Check that a number is in E.164 form."""
    if number and not E164_PATTERN.fullmatch(number):
        digits = re.sub(r"[^0-9]", "", number)
        national = digits.removeprefix("1")
        hint = f"write `+1{national}`, if it is North American" if len(national) == 10 else "such as `+13075550100`"
        yield Diagnostic(path, "e164", f"`{number[:40]}` is not a number in E.164 form: + and 7 to 15 digits", hint)


class Transfer(Node, frozen=True, kw_only=True):
    """Leaves by the result of the transfer; after ``answered`` the call has usually ended.

    ``timeout`` (seconds of ringing) and ``ring`` override the department's settings. The answering party hears
    ``whisper`` first.
    """

    type: ClassVar[str] = "transfer"
    exit_names: ClassVar[tuple[str, ...]] = ("answered", "busy", "no_answer", "failed")
    waits: ClassVar[bool] = True
    result_names: ClassVar[tuple[str, ...]] = ("value", "seconds")

    department: str = ""
    number: str = ""
    sip: str = ""
    timeout: Annotated[float, Meta(ge=0, le=600)] = 0.0
    whisper: Template | None = None
    caller_id: str = ""
    ring: Literal["sequential", "simultaneous", ""] = ""

    def on_enter(self, context: NodeContext) -> None:
        departments = context.state.call_info.departments
        if self.department and departments and self.department not in departments:
            context.report_problem(f"there is no department `{self.department[:64]}`")
            self._finish(context, "failed", 0.0)
            return
        context.start_transfer(
            department=self.department,
            number=self.number,
            sip=self.sip,
            ring_seconds=self.timeout,
            whisper=context.render_text(self.whisper) if self.whisper else "",
            caller_id=self.caller_id,
            ring=self.ring,
            sensitive=context.reads_sensitive(self.whisper),
        )

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        if isinstance(event, TransferEnded):
            self._finish(context, event.result, event.duration_seconds)

    def on_resume(self, context: NodeContext) -> None:
        """Leave by ``failed`` without ringing again: the result of the transfer is unknown."""
        self._finish(context, "failed", 0.0)

    def _finish(self, context: NodeContext, result: str, seconds: float) -> None:
        context.set_result(value=result, seconds=seconds)
        context.take_exit(result, say_goodbye=result != "answered")

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        targets = [name for name in ("department", "number", "sip") if getattr(self, name)]
        if len(targets) != 1:
            yield Diagnostic(path, "transfer-target", "a transfer needs exactly one of department, number and sip")
        yield from check_e164(f"{path}.number", self.number)
        yield from check_e164(f"{path}.caller_id", self.caller_id)
        if self.sip and not SIP_URI_PATTERN.fullmatch(self.sip):
            yield Diagnostic(f"{path}.sip", "sip", "not a SIP address", "such as `sip:desk@pbx.example.com`")
        if self.ring and not self.department:
            yield Diagnostic(
                f"{path}.ring", "ring", "only a department has several numbers to ring", severity="warning"
            )
