"""One call as monitors see it, made of its row in the database and of events; and the filter of a monitor.

The database is the authority: a row is applied as soon as it is as new as the newest event received; until then the
events are ahead of it. Sans-IO: events and rows go in, changed fields come out.
"""

from typing import Any, Literal

import msgspec

from vocelio.gateway.clock import to_rfc3339
from vocelio.gateway.events import TRANSIENT_TYPES, Event
from vocelio.gateway.store.calls.live import LiveCallRow

MAX_STORE_LAG_SECONDS = 2.0  # a row that stays behind the last event for longer will never catch up

DURABLE_TYPES = frozenset(
    {
        "call.started",
        "call.resumed",
        "call.rejected",
        "node.entered",
        "transfer.started",
        "cost.updated",
        "call.ended",
    }
)
"""Types of events that change the call's row in the database, too."""

POSITION_FIELDS = ("tenant", "call", "generation", "sequence", "playout_gap_ms")
"""Fields that every change repeats. A change may be queued behind a newer snapshot: the monitor then goes back to its
position and applies the events queued behind it again, of which ``playout_gap_ms`` is a sum."""

INSTANT_FIELDS = ("started_at", "ended_at")

Speaker = Literal["", "caller", "gateway"]


class CallView(msgspec.Struct, kw_only=True):
    """The fields of a call. Instants are whole microseconds UTC here, RFC 3339 text in messages; see build_message.

    Set by events only, and empty until one arrives: ``speaking``, ``transcript`` (last utterance),
    ``partial_transcript`` (utterance in progress), ``prompt`` (last one), ``latency_ms`` of the last turn, and
    ``playout_gap_ms``, the silence within prompts so far. Confidential texts are ``***``.
    """

    tenant: str
    call: str
    number: str = ""
    caller: str = ""
    flow: str = ""
    version: int | None = None
    started_at: int = 0
    ended_at: int | None = None
    status: Literal["live", "ended"] = "live"
    outcome: str = ""
    disposition: str = ""
    department: str = ""
    node: str = ""
    billed_seconds: float = 0.0
    cost_micro_usd: int = 0
    generation: int = 0
    sequence: int = 0
    speaking: Speaker = ""
    transcript: str = ""
    partial_transcript: str = ""
    prompt: str = ""
    latency_ms: int | None = None
    playout_gap_ms: int = 0


class CallViewTracker:
    """Keeps the view of one call up to date.

    The view is ``complete`` once the call's number and flow are known, and ``final`` once the row has the call's end.
    ``missed_refreshes`` counts the consecutive refreshes that did not find the call in the database.
    """

    def __init__(self, tenant: str, call: str) -> None:
        self.view = CallView(tenant=tenant, call=call)
        self.complete = self.final = False
        self.missed_refreshes = 0
        self._transient_position = (0, 0)
        self._ahead_since: tuple[tuple[int, int], float] = (0, 0), 0.0

    def apply_event(self, event: Event) -> bool:
        """Apply an event; return False if an earlier one is missing, so that the database should be read."""
        view, position = self.view, (event.generation, event.sequence)
        if event.type in TRANSIENT_TYPES:
            _apply_transient(view, event)
            return True
        if position > self._transient_position:
            self._transient_position = position
            _apply_transient(view, event)
        current = view.generation, view.sequence
        if position <= current:
            return True
        _apply_durable(view, event)
        self.final = False
        view.generation, view.sequence = position
        self.complete = self.complete or event.type in ("call.started", "call.rejected")
        return self.complete and position in ((current[0], current[1] + 1), (event.generation, 1))

    def apply_row(self, row: LiveCallRow, now: float) -> dict[str, Any]:
        """Apply a row at ``now`` (seconds of any clock); return the changed fields."""
        view = self.view
        current, position = (view.generation, view.sequence), (row.generation, row.sequence)
        if position < current and self.complete and not self._is_superseded(current, now):
            return self._update({} if view.ended_at else _cost_fields(row))
        self.complete = True
        self.final = row.ended_at is not None
        return self._update(_row_fields(row))

    def _is_superseded(self, position: tuple[int, int], now: float) -> bool:
        """Return whether the database will never have the events up to this position: their process was killed."""
        if self._ahead_since[0] != position:
            self._ahead_since = position, now
        return now - self._ahead_since[1] >= MAX_STORE_LAG_SECONDS

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        changed = {name: value for name, value in fields.items() if getattr(self.view, name) != value}
        if changed.get("status") == "ended":
            changed |= {"speaking": "", "partial_transcript": ""}
        for name, value in changed.items():
            setattr(self.view, name, value)
        return changed


def build_message(view: CallView, changed: dict[str, Any] | None = None) -> dict[str, Any]:
    """Build what monitors receive: the changed fields with the position, or all fields. Instants are RFC 3339 text."""
    if changed is None:
        fields = msgspec.structs.asdict(view)
    else:
        fields = {name: getattr(view, name) for name in POSITION_FIELDS} | changed
    return fields | {name: to_rfc3339(fields[name]) for name in INSTANT_FIELDS if fields.get(name) is not None}


def _cost_fields(row: LiveCallRow) -> dict[str, Any]:
    return {"billed_seconds": row.billed_microseconds / 1e6, "cost_micro_usd": row.cost_micro_usd}


def _row_fields(row: LiveCallRow) -> dict[str, Any]:
    fields = msgspec.structs.asdict(row) | _cost_fields(row) | {"status": "live" if row.ended_at is None else "ended"}
    del fields["billed_microseconds"]
    return fields


def _apply_durable(view: CallView, event: Event) -> None:
    """Apply what the row will have, too, when the event has been committed."""
    data = event.data
    match event.type:
        case "call.started" | "call.resumed":
            view.status, view.ended_at, view.outcome = "live", None, ""
            view.caller, view.number = data.get("caller", view.caller), data.get("number", view.number)
            view.flow, view.started_at = data.get("flow", view.flow), view.started_at or event.occurred_at
        case "node.entered":
            view.node = data["node"]
        case "transfer.started":
            view.department = data["department"]
        case "cost.updated":
            view.billed_seconds, view.cost_micro_usd = data["billed_seconds"], data["cost_micro_usd"]
        case "call.rejected":
            view.caller, view.number, view.flow = data["caller"], data["number"], data["flow"]
            view.status, view.started_at, view.ended_at = "ended", event.occurred_at, event.occurred_at
            view.outcome = data["outcome"]
        case "call.ended":
            view.status, view.ended_at = "ended", event.occurred_at
            for name in ("outcome", "department", "disposition", "billed_seconds", "cost_micro_usd"):
                setattr(view, name, data[name])
            view.speaking, view.partial_transcript = "", ""
        case _:
            pass


def _apply_transient(view: CallView, event: Event) -> None:
    """Apply what only events carry."""
    data = event.data
    match event.type:
        case "caller.speaking":
            view.speaking = "caller" if data["speaking"] else ""
        case "transcript.partial":
            view.partial_transcript = data["text"]
        case "transcript.final":
            view.transcript, view.partial_transcript = data["text"], ""
        case "prompt.started":
            view.speaking, view.prompt = "gateway", data["text"]
            view.latency_ms = data.get("latency_ms", view.latency_ms)
        case "prompt.finished":
            view.speaking = ""
            view.playout_gap_ms += data["playout_gap_ms"]
        case "prompt.interrupted":
            view.speaking = "caller"
        case "call.resumed" | "stream.lost" | "call.handed_off" | "transfer.started":
            view.speaking, view.partial_transcript = "", ""
        case _:
            pass


class EventFilter(msgspec.Struct, frozen=True):
    """Selects calls by all given fields, and events by ``types`` if there are any."""

    flow: str = ""
    number: str = ""
    call: str = ""
    types: frozenset[str] = frozenset()

    @property
    def is_unfiltered(self) -> bool:
        """Whether all calls match."""
        return not (self.flow or self.number or self.call)

    def matches_call(self, view: CallView) -> bool:
        """Return whether the call matches."""
        return self.flow in ("", view.flow) and self.number in ("", view.number) and self.call in ("", view.call)

    def matches_event(self, event: Event, view: CallView | None) -> bool:
        """Return whether the event matches; ``view`` is that of its call, if it belongs to one."""
        if self.types and event.type not in self.types:
            return False
        if view is not None:
            return self.matches_call(view)
        return not self.flow and not self.call and self.number in ("", event.data.get("number"))
