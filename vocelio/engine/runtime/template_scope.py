"""What a node can know: the names that templates read, what they give, and what monitors are told of it.

Some values were entered in confidence. A node may read them, since the caller heard, the whisper and the
request that looks the account up all need them; whatever is made of one is sensitive itself.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from vocelio.engine import actions
from vocelio.engine.hours import zone
from vocelio.engine.runtime.state import State
from vocelio.engine.templating.template import Condition, RenderError, Template, Value

RESERVED = ("call", "caller", "tenant", "number", "now", "today", "secret")
MAX_NOTED = 20  # problems told in one visit: enough to see what is wrong
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Secrets(Mapping[str, str]):
    """``{{ secret.name }}`` in a header: left as it is, for the shell to fill in.

    While the header is rendered each secret is a ``mark`` that nobody can guess, so that a caller who manages to
    say ``{{ secret.name }}`` gets none.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def __getitem__(self, name: str) -> str:
        return f"<{self._mark}.{name}>"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def leave(self, rendered: str) -> str:
        """The header's value with the marks as ``{{ secret.name }}`` again, on one line, and no other braces."""
        plain = re.sub(r"[\x00-\x1f\x7f]", " ", rendered).replace("{{", "{ {").replace("}}", "} }")
        return re.sub(f"<{self._mark}\\.([A-Za-z0-9_]+)>", r"{{ secret.\1 }}", plain)


class Reading:
    """The state, as templates see it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.actions: list[actions.AnyAction] = []

    @property
    def now(self) -> datetime:
        """The instant of the event being handled, in the tenant's time zone."""
        facts = self.state.facts
        instant = EPOCH + timedelta(microseconds=facts.started + round(self.state.at * 1e6))
        return instant.astimezone(zone(facts.tenant.time_zone) or UTC)

    def scope(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The names that templates and conditions can read."""
        state, facts, now = self.state, self.state.facts, self.now
        return {
            **state.results,
            **state.variables,
            **state.secrets,
            "call": {"id": facts.call, "seconds": round(state.at)},
            "caller": {"number": facts.caller},
            "tenant": {"id": facts.tenant.id, "name": facts.tenant.name, **facts.tenant.variables},
            "number": facts.number,
            "now": now,
            "today": now.date(),
            **(extra or {}),
        }

    def confidential(self, *templates: Template | Value | Condition | None) -> bool:
        """Whether anything that the templates read was entered in confidence."""
        secrets = self.state.secrets
        if not secrets:
            return False
        return any(path[0] in secrets for template in templates if template for path in template.paths)

    def text(self, template: Template, extra: Mapping[str, Any] | None = None) -> str:
        """The rendered text; empty, and noted, when its values do not allow it."""
        if template.static:
            return template.source
        missing: list[str] = []
        try:
            return template.render(self.scope(extra), missing)
        except RenderError as error:
            self._failed(template, error)
            return ""
        finally:
            self._unknown(missing)

    def value(self, template: Template | Value) -> Any:
        """The rendered value, of its own type; None, and noted, when it cannot be had."""
        missing: list[str] = []
        try:
            return template.value(self.scope(), missing)
        except RenderError as error:
            self._failed(template, error)
            return None
        finally:
            self._unknown(missing)

    def holds(self, condition: Condition) -> bool:
        """Whether the condition is true; false, and noted, when it cannot be told."""
        try:
            return condition.holds(self.scope())
        except RenderError as error:
            self._failed(condition, error)
            return False

    def note(self, kind: str, **data: Any) -> None:
        """Something for monitors and the timeline."""
        self.actions.append(actions.Note(kind, data))

    def problem(self, text: str) -> None:
        """Something that the flow's author should mend; told once in a visit."""
        noted = self.state.noted
        if text not in noted and len(noted) < MAX_NOTED:
            self.state.noted = [*noted, text]
            self.note("flow.problem", node=self.state.node, problem=text)

    def _failed(self, template: Template | Value | Condition, error: RenderError) -> None:
        """What went wrong may quote a value."""
        self.problem("a text that reads sensitive values failed" if self.confidential(template) else str(error))

    def _unknown(self, missing: list[str]) -> None:
        for name in missing:
            self.problem(f"`{name[:64]}` has no value")
