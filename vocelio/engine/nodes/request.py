"""request: ask another system over HTTP, and keep what it answers."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from vocelio.engine.diagnostics import Problem
from vocelio.engine.events import AnyEvent, ReplyArrived, TimerFired
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import Run
from vocelio.engine.runtime.template_scope import Secrets
from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.templating.template import Template, Value

BETWEEN_TRIES = 2.0  # seconds: what the shell may wait before it tries again
OVERDUE = 5.0  # seconds: a reply that does not even fail in time is not waited for
MAX_URL = 2_000
_URL = re.compile(r"https?://[^\s/?#]+\S*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OWN_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "idempotency-key")


class Request(Node, frozen=True, kw_only=True):
    """Exits ``ok`` (an answer below 400), ``error`` (any other) or ``timeout`` (none in ``timeout`` seconds a try).

    ``save`` takes values out of a JSON answer: ``{"balance": "account.balance"}``. ``{{ secret.name }}`` is allowed
    in a header's value, where it is not looked up: the engine never sees a secret.
    """

    type: ClassVar[str] = "request"
    exit_names: ClassVar[tuple[str, ...]] = ("ok", "error", "timeout")
    results: ClassVar[tuple[str, ...]] = ("value", "status")
    field_names: ClassVar[dict[str, str]] = {"headers": "secret"}

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: Template
    headers: Annotated[dict[str, Template], Meta(max_length=30)] = {}
    json: Value | None = None
    timeout: Annotated[float, Meta(gt=0, le=30)] = 5.0
    retries: Annotated[int, Meta(ge=0, le=5)] = 0
    save: Annotated[dict[str, JsonPath], Meta(max_length=50)] = {}

    def variables(self) -> tuple[str, ...]:
        return tuple(self.save)

    def enter(self, run: Run) -> None:
        url = run.text(self.url)
        if not _URL.fullmatch(url) or len(url) > MAX_URL:
            run.problem("the URL came out as none")
            self._ended(run, "error", 0)
            return
        secrets = Secrets(run.visit_key())
        run.request(
            method=self.method,
            url=url,
            headers={name: secrets.leave(run.text(value, {"secret": secrets})) for name, value in self.headers.items()},
            json=run.value(self.json) if self.json else None,
            timeout=self.timeout,
            retries=self.retries,
            sensitive=run.confidential(self.url, self.json, *self.headers.values()),
        )
        run.start_timer("overdue", (self.timeout + BETWEEN_TRIES) * (self.retries + 1) + OVERDUE)

    def receive(self, run: Run, event: AnyEvent) -> None:
        match event:
            case ReplyArrived(how="ok") if event.status < 400:
                self._save(run, event.body)
                self._ended(run, "ok", event.status)
            case ReplyArrived():
                self._ended(run, "timeout" if event.how == "timeout" else "error", event.status)
            case TimerFired():
                self._ended(run, "timeout", 0)
            case _:
                pass

    def resume(self, run: Run) -> None:
        """Nobody knows whether it was received: a GET is sent again, and nothing else is."""
        if self.method == "GET":
            self.enter(run)
        else:
            self._ended(run, "error", 0)

    def _save(self, run: Run, body: Any) -> None:
        for name, path in self.save.items():
            try:
                run.set(name, path.find(body))
            except LookupError:
                run.problem(f"the answer has no `{path.source}`")
                run.set(name, None)

    def _ended(self, run: Run, how: str, status: int) -> None:
        run.result(value=how, status=status)
        run.leave(how)

    def problems(self, path: str) -> Iterable[Problem]:
        start = self.url.source.split("{", 1)[0]
        if not _URL.fullmatch(self.url.source if self.url.static else start) and (self.url.static or start):
            yield Problem(f"{path}.url", "url", "not an http or https URL", "such as `https://crm.example.com/x`")
        for name in self.headers:
            if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
                yield Problem(f"{path}.headers.{name[:64]}", "header", f"`{name[:64]}` cannot be set as a header")
        if self.json is not None and self.method == "GET":
            yield Problem(f"{path}.json", "body", "a GET request has no body", severity="warning")
