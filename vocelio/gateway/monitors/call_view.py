"""One call as monitors see it: what the store knows of it, and what only events tell.

The store is the authority. What it says counts as soon as it is as new as the newest event that came; until then the
events are ahead of it. Sans-IO: events and rows go in, and what has changed comes out.
"""

from typing import Any, Literal

import msgspec

from vocelio.gateway.events import TRANSIENT_TYPES, Event
from vocelio.gateway.store.calls.live import LiveCallRow

MAX_STORE_LAG_SECONDS = (
    2.0  # that the store is behind a picture on which nothing new has come: then it will not catch up
)

DURABLE_TYPES = frozenset(
    {
        "call.started",
        "call.resumed",
        "call.refused",
        "node.entered",
        "transfer.started",
        "cost.updated",
        "call.ended",
    }
)
"""Types of events that change what the store will say of a call, too."""

POSITION_FIELDS = ("tenant", "call", "generation", "seq", "late_ms")
"""Fields that are told with every change of others. A change may wait behind a snapshot that is newer: a monitor goes
back with it, and the events that wait there, too, are new to it once more; of what they tell ``late_ms`` is a sum."""

Speaker = Literal["", "caller", "gateway"]


class CallView(msgspec.Struct, kw_only=True):
    """What is shown. Instants are whole microseconds UTC, money is whole micro-USD.

    ``status`` is ``live`` or ``ended``. Known by events only, and empty until one comes: who is ``speaking``; what the
    caller said last (``heard``) or is saying (``partial``), ``***`` in confidence; what the gateway ``said`` last; the
    last turn's ``latency_ms``; and ``late_ms``, silence that fell into prompts so far.
    """

    tenant: str
    call: str
    number: str = ""
    caller: str = ""
    flow: str = ""
    version: int | None = None
    started: int = 0
    ended: int | None = None
    status: Literal["live", "ended"] = "live"
    outcome: str = ""
    disposition: str = ""
    department: str = ""
    node: str = ""
    seconds: float = 0.0
    micro_usd: int = 0
    generation: int = 0
    seq: int = 0
    speaking: Speaker = ""
    heard: str = ""
    partial: str = ""
    said: str = ""
    latency_ms: int | None = None
    late_ms: int = 0


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
        picture, place = self.view, (event.generation, event.seq)
        if event.type in TRANSIENT_TYPES:
            _apply_transient(picture, event)
            return True
        if place > self._transient_position:
            self._transient_position = place
            _apply_transient(picture, event)
        known = picture.generation, picture.seq
        if place <= known:
            return True
        _apply_durable(picture, event)
        self.final = False
        picture.generation, picture.seq = place
        self.complete = self.complete or event.type in ("call.started", "call.refused")
        return self.complete and place in ((known[0], known[1] + 1), (event.generation, 1))

    def apply_row(self, row: LiveCallRow, now: float) -> dict[str, Any]:
        """Take in what the store says, ``now`` in seconds of any clock; gives what is different now, by its name."""
        picture = self.view
        known, place = (picture.generation, picture.seq), (row.generation, row.seq)
        if place < known and self.complete and not self._is_superseded(known, now):
            return self._update({} if picture.ended else _cost_fields(row))
        self.complete = True
        self.final = row.ended is not None
        return self._update(_row_fields(row))

    def _is_superseded(self, position: tuple[int, int], now: float) -> bool:
        """Whether events were told that the store will never have: their process died with them."""
        if self._ahead_since[0] != position:
            self._ahead_since = position, now
        return now - self._ahead_since[1] >= MAX_STORE_LAG_SECONDS

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        changed = {name: value for name, value in fields.items() if getattr(self.view, name) != value}
        if changed.get("status") == "ended":
            changed |= {"speaking": "", "partial": ""}
        for name, value in changed.items():
            setattr(self.view, name, value)
        return changed


def build_change(view: CallView, changed: dict[str, Any]) -> dict[str, Any]:
    """What monitors are told of it."""
    return {name: getattr(view, name) for name in POSITION_FIELDS} | changed


def _cost_fields(row: LiveCallRow) -> dict[str, Any]:
    return {"seconds": row.billed / 1e6, "micro_usd": row.micro_usd}


def _row_fields(row: LiveCallRow) -> dict[str, Any]:
    facts = msgspec.structs.asdict(row) | _cost_fields(row) | {"status": "live" if row.ended is None else "ended"}
    del facts["billed"]
    return facts


def _apply_durable(view: CallView, event: Event) -> None:
    """What the store will say, too, when it has the event."""
    data = event.data
    match event.type:
        case "call.started" | "call.resumed":
            view.status, view.ended, view.outcome = "live", None, ""
            view.caller, view.number = data.get("caller", view.caller), data.get("number", view.number)
            view.flow, view.started = data.get("flow", view.flow), view.started or event.at
        case "node.entered":
            view.node = data["node"]
        case "transfer.started":
            view.department = data["department"]
        case "cost.updated":
            view.seconds, view.micro_usd = data["seconds"], data["micro_usd"]
        case "call.refused":
            view.caller, view.number, view.flow = data["caller"], data["number"], data["flow"]
            view.status, view.started, view.ended = "ended", event.at, event.at
            view.outcome = data["outcome"]
        case "call.ended":
            view.status, view.ended = "ended", event.at
            for name in ("outcome", "department", "disposition", "seconds", "micro_usd"):
                setattr(view, name, data[name])
            view.speaking, view.partial = "", ""
        case _:
            pass


def _apply_transient(view: CallView, event: Event) -> None:
    """What only events tell."""
    data = event.data
    match event.type:
        case "caller.speaking":
            view.speaking = "caller" if data["on"] else ""
        case "caller.partial":
            view.partial = data["text"]
        case "caller.heard":
            view.heard, view.partial = data["text"], ""
        case "prompt.started":
            view.speaking, view.said = "gateway", data["text"]
            view.latency_ms = data.get("latency_ms", view.latency_ms)
        case "prompt.finished":
            view.speaking = ""
            view.late_ms += data["late_ms"]
        case "caller.interrupted":
            view.speaking = "caller"
        case "call.resumed" | "stream.lost" | "call.handed_over" | "transfer.started":
            view.speaking, view.partial = "", ""
        case _:
            pass
