"""hours: branch by opening hours."""

from collections.abc import Iterable
from datetime import UTC
from typing import ClassVar

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.hours import Holidays, OpeningHours, SpecialDays, Weekly, get_time_zone
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext


class Hours(Node, frozen=True, kw_only=True):
    """Checks the hours of a ``department`` or the node's own. A department without hours is always open."""

    type: ClassVar[str] = "hours"
    exit_names: ClassVar[tuple[str, ...]] = ("open", "closed", "holiday")
    result_names: ClassVar[tuple[str, ...]] = ("value",)

    department: str = ""
    time_zone: str = ""
    weekly: Weekly = {}
    holidays: Holidays = ()
    special: SpecialDays = {}

    def target_of(self, exit_name: str) -> str | None:
        """Treat a holiday as closed if the exit ``holiday`` is not connected."""
        return self.exits.get(exit_name, self.exits.get("closed") if exit_name == "holiday" else None)

    def on_enter(self, context: NodeContext) -> None:
        call_info = context.state.call_info
        hours = call_info.hours.get(self.department) if self.department else self._own_hours()
        local = context.now.astimezone(get_time_zone((hours and hours.time_zone) or call_info.tenant.time_zone) or UTC)
        state = hours.state_at(local) if hours else "open"
        context.set_result(value=state)
        context.take_exit(state)

    def _own_hours(self) -> OpeningHours:
        return OpeningHours(self.time_zone, self.weekly, self.holidays, self.special)

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        has_own_hours = self.time_zone or self.weekly or self.holidays or self.special
        if self.department and has_own_hours:
            yield Diagnostic(path, "hours", "use either the hours of a `department` or the node's own hours")
        elif not self.department and not (self.time_zone and (self.weekly or self.special)):
            yield Diagnostic(path, "hours", "needs a `department`, or `time_zone` and `weekly`")
        for field_path, message in self._own_hours().problems():
            yield Diagnostic(f"{path}.{field_path}", "hours", message)
