"""One call as monitors see it: what the store knows of it, and what only events tell.

The store is the authority. What it says counts as soon as it is as new as the newest event that came; until then the
events are ahead of it. Sans-IO: events and rows go in, and what has changed comes out.

What a monitor wants to see.
"""

from typing import Any, Literal

import msgspec

from vocelio.gateway.clock import to_rfc3339
from vocelio.gateway.events import TRANSIENT_TYPES, Event
from vocelio.gateway.store.calls.live import LiveCallRow

MAX_STORE_LAG_SECONDS = (
    2.0  # that the store is behind a picture on which nothing new has come: then it will not catch up
)

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
"""Types of events that change what the store will say of a call, too."""

POSITION_FIELDS = ("tenant", "call", "generation", "sequence", "playout_gap_ms")
"""Fields that every change repeats. A change may be queued behind a newer snapshot: the monitor then goes back to its
position and applies the events queued behind it again, of which ``playout_gap_ms`` is a sum."""

INSTANT_FIELDS = ("started_at", "ended_at")

Speaker = Literal["", "caller", "gateway"]


class CallView(msgspec.Struct, kw_only=True):
    """What is shown. Instants are whole microseconds UTC here, RFC 3339 text in messages; money is whole micro-USD.

    ``status`` is ``live`` or ``ended``. Known by events only, and empty until one comes: who is ``speaking``; what the
    caller said last (``transcript``) or is saying (``partial_transcript``), ``***`` in confidence; the last ``prompt``;
    the last turn's ``latency_ms``; and ``playout_gap_ms``, silence within prompts so far.
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
    """A call's picture and how far it can be trusted.

    ``whole`` once it is known what the call is, ``settled`` once the store has all that there will be. ``absences``
    counts the looks that did not find it in the store.
    """

    def __init__(self, tenant: str, call: str) -> None:
        self.view = CallView(tenant=tenant, call=call)
        self.complete = self.final = False
        self.missed_refreshes = 0
        self._transient_position = (0, 0)
        self._ahead_since: tuple[tuple[int, int], float] = (0, 0), 0.0

    def apply_event(self, event: Event) -> bool:
        """Take an event in; False when one before it is missing, so that the store should be asked."""
        picture, place = self.view, (event.generation, event.sequence)
        if event.type in TRANSIENT_TYPES:
            _apply_transient(picture, event)
            return True
        if place > self._transient_position:
            self._transient_position = place
            _apply_transient(picture, event)
        known = picture.generation, picture.sequence
        if place <= known:
            return True
        _apply_durable(picture, event)
        self.final = False
        picture.generation, picture.sequence = place
        self.complete = self.complete or event.type in ("call.started", "call.rejected")
        return self.complete and place in ((known[0], known[1] + 1), (event.generation, 1))

    def apply_row(self, row: LiveCallRow, now: float) -> dict[str, Any]:
        """Take in what the store says, ``now`` in seconds of any clock; gives what is different now, by its name."""
        picture = self.view
        known, place = (picture.generation, picture.sequence), (row.generation, row.sequence)
        if place < known and self.complete and not self._is_superseded(known, now):
            return self._update({} if picture.ended_at else _cost_fields(row))
        self.complete = True
        self.final = row.ended_at is not None
        return self._update(_row_fields(row))

    def _is_superseded(self, position: tuple[int, int], now: float) -> bool:
        """Whether events were told that the store will never have: their process died with them."""
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
    facts = msgspec.structs.asdict(row) | _cost_fields(row) | {"status": "live" if row.ended_at is None else "ended"}
    del facts["billed_microseconds"]
    return facts


def _apply_durable(view: CallView, event: Event) -> None:
    """What the store will say, too, when it has the event."""
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
    """What only events tell."""
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
    """Calls that are all of what is given; of the events those ``types`` only, if there are any."""

    flow: str = ""
    number: str = ""
    call: str = ""
    types: frozenset[str] = frozenset()

    @property
    def is_unfiltered(self) -> bool:
        """Whether it is all calls."""
        return not (self.flow or self.number or self.call)

    def matches_call(self, view: CallView) -> bool:
        """Whether the call is one of them."""
        return self.flow in ("", view.flow) and self.number in ("", view.number) and self.call in ("", view.call)

    def matches_event(self, event: Event, view: CallView | None) -> bool:
        """Whether the event is one of them; ``picture`` is its call's, if it is one of a call."""
        if self.types and event.type not in self.types:
            return False
        if view is not None:
            return self.matches_call(view)
        return not self.flow and not self.call and self.number in ("", event.data.get("number"))
