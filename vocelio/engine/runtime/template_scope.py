"""What a node can know: the names that templates read, what they give, and what monitors are told of it.

Some values were entered in confidence. A node may read them, since the caller heard, the whisper and the
request that looks the account up all need them; whatever is made of one is sensitive itself.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from vocelio.engine import actions
from vocelio.engine.hours import get_time_zone
from vocelio.engine.runtime.state import SessionState
from vocelio.engine.templating.template import Condition, RenderError, Template, TemplateValue

RESERVED_NAMES = ("call", "caller", "tenant", "number", "now", "today", "secret")
MAX_REPORTED_PROBLEMS = 20  # problems told in one visit: enough to see what is wrong
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SecretPlaceholders(Mapping[str, str]):
    """``{{ secret.name }}`` in a header: left as it is, for the shell to fill in.

    While the header is rendered each secret is a ``mark`` that nobody can guess, so that a caller who manages to
    say ``{{ secret.name }}`` gets none.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def __getitem__(self, name: str) -> str:
        return f"<{self._token}.{name}>"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def restore_placeholders(self, rendered: str) -> str:
        """The header's value with the marks as ``{{ secret.name }}`` again, on one line, and no other braces."""
        plain = re.sub(r"[\x00-\x1f\x7f]", " ", rendered).replace("{{", "{ {").replace("}}", "} }")
        return re.sub(f"<{self._token}\\.([A-Za-z0-9_]+)>", r"{{ secret.\1 }}", plain)


class TemplateScope:
    """The state, as templates see it."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self.actions: list[actions.AnyAction] = []

    @property
    def now(self) -> datetime:
        """The instant of the event being handled, in the tenant's time zone."""
        facts = self.state.call_info
        instant = EPOCH + timedelta(microseconds=facts.started_at + round(self.state.at * 1e6))
        return instant.astimezone(get_time_zone(facts.tenant.time_zone) or UTC)

    def template_variables(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The names that templates and conditions can read."""
        state, facts, now = self.state, self.state.call_info, self.now
        return {
            **state.results,
            **state.variables,
            **state.sensitive_variables,
            "call": {"id": facts.call_id, "seconds": round(state.at)},
            "caller": {"number": facts.caller},
            "tenant": {"id": facts.tenant.id, "name": facts.tenant.name, **facts.tenant.variables},
            "number": facts.number,
            "now": now,
            "today": now.date(),
            **(extra or {}),
        }

    def reads_sensitive(self, *templates: Template | TemplateValue | Condition | None) -> bool:
        """Whether anything that the templates read was entered in confidence."""
        secrets = self.state.sensitive_variables
        if not secrets:
            return False
        return any(path[0] in secrets for template in templates if template for path in template.variable_paths)

    def render_text(self, template: Template, extra: Mapping[str, Any] | None = None) -> str:
        """The rendered text; empty, and noted, when its values do not allow it."""
        if template.is_static:
            return template.source
        missing: list[str] = []
        try:
            return template.render(self.template_variables(extra), missing)
        except RenderError as error:
            self._report_render_error(template, error)
            return ""
        finally:
            self._report_missing_names(missing)

    def render_value(self, template: Template | TemplateValue) -> Any:
        """The rendered value, of its own type; None, and noted, when it cannot be had."""
        missing: list[str] = []
        try:
            return template.render_value(self.template_variables(), missing)
        except RenderError as error:
            self._report_render_error(template, error)
            return None
        finally:
            self._report_missing_names(missing)

    def evaluate(self, condition: Condition) -> bool:
        """Whether the condition is true; false, and noted, when it cannot be told."""
        try:
            return condition.evaluate(self.template_variables())
        except RenderError as error:
            self._report_render_error(condition, error)
            return False

    def emit(self, event_type: str, **data: Any) -> None:
        """Something for monitors and the timeline."""
        self.actions.append(actions.EmitEvent(event_type, data))

    def report_problem(self, text: str) -> None:
        """Something that the flow's author should mend; told once in a visit."""
        noted = self.state.reported_problems
        if text not in noted and len(noted) < MAX_REPORTED_PROBLEMS:
            self.state.reported_problems = [*noted, text]
            self.emit("flow.problem", node=self.state.node, error=text)

    def _report_render_error(self, template: Template | TemplateValue | Condition, error: RenderError) -> None:
        """What went wrong may quote a value."""
        self.report_problem(
            "a text that reads sensitive values failed" if self.reads_sensitive(template) else str(error)
        )

    def _report_missing_names(self, missing_names: list[str]) -> None:
        for name in missing_names:
            self.report_problem(f"`{name[:64]}` has no value")
