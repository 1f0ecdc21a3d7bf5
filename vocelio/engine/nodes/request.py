"""request: send an HTTP request and store values of the response."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.events import AnyEvent, RequestEnded, TimerFired
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.runtime.template_scope import SecretPlaceholders
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.templating.template import Template, TemplateValue

MAX_RETRY_DELAY_SECONDS = 2.0  # the host's maximum delay between two attempts
RESULT_GRACE_SECONDS = 5.0  # after the last attempt's timeout; later results are given up
MAX_URL_CHARACTERS = 2_000
_URL_PATTERN = re.compile(r"https?://[^\s/?#]+\S*")
_HEADER_NAME_PATTERN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_RESERVED_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "idempotency-key")


class Request(Node, frozen=True, kw_only=True):
    """Exits: ``ok`` (status below 400), ``error`` (any other failure), ``timeout`` (``timeout`` seconds per attempt).

    ``save`` maps variables to paths into a JSON response: ``{"balance": "account.balance"}``. ``{{ secret.name }}`` is
    allowed in header values and passed on unresolved: the engine never sees a secret.
    """

    type: ClassVar[str] = "request"
    exit_names: ClassVar[tuple[str, ...]] = ("ok", "error", "timeout")
    result_names: ClassVar[tuple[str, ...]] = ("value", "status")
    local_names: ClassVar[dict[str, str]] = {"headers": "secret"}

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: Template
    headers: Annotated[dict[str, Template], Meta(max_length=30)] = {}
    json: TemplateValue | None = None
    timeout: Annotated[float, Meta(gt=0, le=30)] = 5.0
    retries: Annotated[int, Meta(ge=0, le=5)] = 0
    save: Annotated[dict[str, JsonPath], Meta(max_length=50)] = {}

    def assigned_variables(self) -> tuple[str, ...]:
        return tuple(self.save)

    def on_enter(self, context: NodeContext) -> None:
        url = context.render_text(self.url)
        if not _URL_PATTERN.fullmatch(url) or len(url) > MAX_URL_CHARACTERS:
            context.report_problem("the rendered URL is not valid")
            self._finish(context, "error", 0)
            return
        secrets = SecretPlaceholders(context.visit_key())
        context.send_request(
            method=self.method,
            url=url,
            headers={
                name: secrets.restore_placeholders(context.render_text(value, {"secret": secrets}))
                for name, value in self.headers.items()
            },
            json=context.render_value(self.json) if self.json else None,
            timeout_seconds=self.timeout,
            retries=self.retries,
            sensitive=context.reads_sensitive(self.url, self.json, *self.headers.values()),
        )
        context.start_timer(
            "overdue", (self.timeout + MAX_RETRY_DELAY_SECONDS) * (self.retries + 1) + RESULT_GRACE_SECONDS
        )

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        match event:
            case RequestEnded(result="ok") if event.status < 400:
                self._save_reply(context, event.body)
                self._finish(context, "ok", event.status)
            case RequestEnded():
                self._finish(context, "timeout" if event.result == "timeout" else "error", event.status)
            case TimerFired():
                self._finish(context, "timeout", 0)
            case _:
                pass

    def on_resume(self, context: NodeContext) -> None:
        """Repeat a GET; leave by ``error`` otherwise, since it is unknown whether the request was received."""
        if self.method == "GET":
            self.on_enter(context)
        else:
            self._finish(context, "error", 0)

    def _save_reply(self, context: NodeContext, body: Any) -> None:
        for name, path in self.save.items():
            try:
                context.set_variable(name, path.find(body))
            except LookupError:
                context.report_problem(f"the response has no `{path.source}`")
                context.set_variable(name, None)

    def _finish(self, context: NodeContext, result: str, status: int) -> None:
        context.set_result(value=result, status=status)
        context.take_exit(result)

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        start = self.url.source.split("{", 1)[0]
        if not _URL_PATTERN.fullmatch(self.url.source if self.url.is_static else start) and (
            self.url.is_static or start
        ):
            yield Diagnostic(f"{path}.url", "url", "not an http or https URL", "such as `https://crm.example.com/x`")
        for name in self.headers:
            if not _HEADER_NAME_PATTERN.fullmatch(name) or name.lower() in _RESERVED_HEADERS:
                yield Diagnostic(f"{path}.headers.{name[:64]}", "header", f"`{name[:64]}` cannot be set as a header")
        if self.json is not None and self.method == "GET":
            yield Diagnostic(f"{path}.json", "body", "a GET request has no body", severity="warning")
