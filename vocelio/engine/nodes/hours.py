"""hours: go one way while a department is open, and another while it is not."""

from collections.abc import Iterable
from datetime import UTC
from typing import ClassVar

from vocelio.engine.diagnostics import Problem
from vocelio.engine.hours import Holidays, OpeningHours, Special, Weekly, zone
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run


class Hours(Node, frozen=True, kw_only=True):
    """The hours of a ``department``, or the node's own. A department that has none is always open."""

    type: ClassVar[str] = "hours"
    exit_names: ClassVar[tuple[str, ...]] = ("open", "closed", "holiday")
    results: ClassVar[tuple[str, ...]] = ("value",)

    department: str = ""
    time_zone: str = ""
    weekly: Weekly = {}
    holidays: Holidays = ()
    special: Special = {}

    def exit_taken(self, name: str) -> str | None:
        """A holiday without a way of its own is closed."""
        return self.exits.get(name, self.exits.get("closed") if name == "holiday" else None)

    def enter(self, run: Run) -> None:
        facts = run.state.facts
        hours = facts.hours.get(self.department) if self.department else self._own()
        local = run.now.astimezone(zone((hours and hours.time_zone) or facts.tenant.time_zone) or UTC)
        state = hours.state(local) if hours else "open"
        run.result(value=state)
        run.leave(state)

    def _own(self) -> OpeningHours:
        return OpeningHours(self.time_zone, self.weekly, self.holidays, self.special)

    def problems(self, path: str) -> Iterable[Problem]:
        own = self.time_zone or self.weekly or self.holidays or self.special
        if self.department and own:
            yield Problem(path, "hours", "either a `department`, whose hours count, or the node's own hours")
        elif not self.department and not (self.time_zone and (self.weekly or self.special)):
            yield Problem(path, "hours", "needs a `department`, or `time_zone` and `weekly`")
        for where, wrong in self._own().wrong():
            yield Problem(f"{path}.{where}", "hours", wrong)
