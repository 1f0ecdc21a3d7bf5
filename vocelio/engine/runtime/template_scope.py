"""TemplateScope: the names that templates can read, rendering, and reporting of rendering problems.

Sensitive variables can be read, since prompts, whispers and requests need them; everything rendered from one is
sensitive itself.
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
MAX_REPORTED_PROBLEMS = 20  # problems reported per visit: enough to find the cause
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SecretPlaceholders(Mapping[str, str]):
    """Keeps ``{{ secret.name }}`` in rendered headers for the host, which resolves secrets.

    During rendering each secret is a placeholder with an unguessable ``token``, so a value that contains
    ``{{ secret.name }}`` does not become a secret.
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
        """Replace placeholders by ``{{ secret.name }}``; break up all other braces and remove line breaks."""
        escaped = re.sub(r"[\x00-\x1f\x7f]", " ", rendered).replace("{{", "{ {").replace("}}", "} }")
        return re.sub(f"<{self._token}\\.([A-Za-z0-9_]+)>", r"{{ secret.\1 }}", escaped)


class TemplateScope:
    """The session state as templates see it."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self.actions: list[actions.AnyAction] = []

    @property
    def now(self) -> datetime:
        """The time of the current event, in the tenant's time zone."""
        call_info = self.state.call_info
        instant = EPOCH + timedelta(microseconds=call_info.started_at + round(self.state.at * 1e6))
        return instant.astimezone(get_time_zone(call_info.tenant.time_zone) or UTC)

    def template_variables(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the variables of templates and conditions."""
        state, call_info, now = self.state, self.state.call_info, self.now
        return {
            **state.results,
            **state.variables,
            **state.sensitive_variables,
            "call": {"id": call_info.call_id, "seconds": round(state.at)},
            "caller": {"number": call_info.caller},
            "tenant": {"id": call_info.tenant.id, "name": call_info.tenant.name, **call_info.tenant.variables},
            "number": call_info.number,
            "now": now,
            "today": now.date(),
            **(extra or {}),
        }

    def reads_sensitive(self, *templates: Template | TemplateValue | Condition | None) -> bool:
        """Return True if a template reads a sensitive variable."""
        sensitive_names = self.state.sensitive_variables
        if not sensitive_names:
            return False
        return any(path[0] in sensitive_names for template in templates if template for path in template.variable_paths)

    def render_text(self, template: Template, extra: Mapping[str, Any] | None = None) -> str:
        """Render a text. On error the problem is reported and the text is empty."""
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
        """Render a value of its own type. On error the problem is reported and the value is None."""
        missing: list[str] = []
        try:
            return template.render_value(self.template_variables(), missing)
        except RenderError as error:
            self._report_render_error(template, error)
            return None
        finally:
            self._report_missing_names(missing)

    def evaluate(self, condition: Condition) -> bool:
        """Evaluate a condition. On error the problem is reported and the result is False."""
        try:
            return condition.evaluate(self.template_variables())
        except RenderError as error:
            self._report_render_error(condition, error)
            return False

    def emit(self, event_type: str, **data: Any) -> None:
        """Publish an event to monitors and to the call's timeline."""
        self.actions.append(actions.EmitEvent(event_type, data))

    def report_problem(self, text: str) -> None:
        """Report a problem that the flow's author should fix; each problem once per visit."""
        reported = self.state.reported_problems
        if text not in reported and len(reported) < MAX_REPORTED_PROBLEMS:
            self.state.reported_problems = [*reported, text]
            self.emit("flow.problem", node=self.state.node, error=text)

    def _report_render_error(self, template: Template | TemplateValue | Condition, error: RenderError) -> None:
        """Report a render error; without its message, which may quote a value, if the template reads sensitive ones."""
        self.report_problem(
            "a template that reads sensitive values failed" if self.reads_sensitive(template) else str(error)
        )

    def _report_missing_names(self, missing_names: list[str]) -> None:
        for name in missing_names:
            self.report_problem(f"`{name[:64]}` has no value")
