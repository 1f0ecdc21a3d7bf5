"""One call as monitors see it: what the store knows of it, and what only events tell.

The store is the authority. What it says counts as soon as it is as new as the newest event that came; until then the
events are ahead of it. Sans-IO: events and rows go in, and what has changed comes out.
"""

from typing import Any, Literal

import msgspec

from vocelio.gateway.events import PASSING, Event
from vocelio.gateway.store.calls.live import KeptCall

DOUBT_SECONDS = 2.0  # that the store is behind a picture on which nothing new has come: then it will not catch up

MOVING = frozenset(
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

PLACE = ("tenant", "call", "generation", "seq", "late_ms")
"""Fields that are told with every change of others. A change may wait behind a snapshot that is newer: a monitor goes
back with it, and the events that wait there, too, are new to it once more; of what they tell ``late_ms`` is a sum."""

Speaking = Literal["", "caller", "gateway"]


class Picture(msgspec.Struct, kw_only=True):
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
    speaking: Speaking = ""
    heard: str = ""
    partial: str = ""
    said: str = ""
    latency_ms: int | None = None
    late_ms: int = 0


class Tracked:
    """A call's picture and how far it can be trusted.

    ``whole`` once it is known what the call is, ``settled`` once the store has all that there will be. ``absences``
    counts the looks that did not find it in the store.
    """

    def __init__(self, tenant: str, call: str) -> None:
        self.picture = Picture(tenant=tenant, call=call)
        self.whole = self.settled = False
        self.absences = 0
        self._detailed = (0, 0)
        self._doubted: tuple[tuple[int, int], float] = (0, 0), 0.0

    def happened(self, event: Event) -> bool:
        """Take an event in; False when one before it is missing, so that the store should be asked."""
        picture, place = self.picture, (event.generation, event.seq)
        if event.type in PASSING:
            _detail(picture, event)
            return True
        if place > self._detailed:
            self._detailed = place
            _detail(picture, event)
        known = picture.generation, picture.seq
        if place <= known:
            return True
        _move(picture, event)
        self.settled = False
        picture.generation, picture.seq = place
        self.whole = self.whole or event.type in ("call.started", "call.refused")
        return self.whole and place in ((known[0], known[1] + 1), (event.generation, 1))

    def kept(self, row: KeptCall, now: float) -> dict[str, Any]:
        """Take in what the store says, ``now`` in seconds of any clock; gives what is different now, by its name."""
        picture = self.picture
        known, place = (picture.generation, picture.seq), (row.generation, row.seq)
        if place < known and self.whole and not self._gives_way(known, now):
            return self._differences({} if picture.ended else _costs(row))
        self.whole = True
        self.settled = row.ended is not None
        return self._differences(_facts(row))

    def _gives_way(self, known: tuple[int, int], now: float) -> bool:
        """Whether events were told that the store will never have: their process died with them."""
        if self._doubted[0] != known:
            self._doubted = known, now
        return now - self._doubted[1] >= DOUBT_SECONDS

    def _differences(self, facts: dict[str, Any]) -> dict[str, Any]:
        changed = {name: value for name, value in facts.items() if getattr(self.picture, name) != value}
        if changed.get("status") == "ended":
            changed |= {"speaking": "", "partial": ""}
        for name, value in changed.items():
            setattr(self.picture, name, value)
        return changed


def change(picture: Picture, changed: dict[str, Any]) -> dict[str, Any]:
    """What monitors are told of it."""
    return {name: getattr(picture, name) for name in PLACE} | changed


def _costs(row: KeptCall) -> dict[str, Any]:
    return {"seconds": row.billed / 1e6, "micro_usd": row.micro_usd}


def _facts(row: KeptCall) -> dict[str, Any]:
    facts = msgspec.structs.asdict(row) | _costs(row) | {"status": "live" if row.ended is None else "ended"}
    del facts["billed"]
    return facts


def _move(picture: Picture, event: Event) -> None:
    """What the store will say, too, when it has the event."""
    data = event.data
    match event.type:
        case "call.started" | "call.resumed":
            picture.status, picture.ended, picture.outcome = "live", None, ""
            picture.caller, picture.number = data.get("caller", picture.caller), data.get("number", picture.number)
            picture.flow, picture.started = data.get("flow", picture.flow), picture.started or event.at
        case "node.entered":
            picture.node = data["node"]
        case "transfer.started":
            picture.department = data["department"]
        case "cost.updated":
            picture.seconds, picture.micro_usd = data["seconds"], data["micro_usd"]
        case "call.refused":
            picture.caller, picture.number, picture.flow = data["caller"], data["number"], data["flow"]
            picture.status, picture.started, picture.ended = "ended", event.at, event.at
            picture.outcome = data["outcome"]
        case "call.ended":
            picture.status, picture.ended = "ended", event.at
            for name in ("outcome", "department", "disposition", "seconds", "micro_usd"):
                setattr(picture, name, data[name])
            picture.speaking, picture.partial = "", ""
        case _:
            pass


def _detail(picture: Picture, event: Event) -> None:
    """What only events tell."""
    data = event.data
    match event.type:
        case "caller.speaking":
            picture.speaking = "caller" if data["on"] else ""
        case "caller.partial":
            picture.partial = data["text"]
        case "caller.heard":
            picture.heard, picture.partial = data["text"], ""
        case "prompt.started":
            picture.speaking, picture.said = "gateway", data["text"]
            picture.latency_ms = data.get("latency_ms", picture.latency_ms)
        case "prompt.finished":
            picture.speaking = ""
            picture.late_ms += data["late_ms"]
        case "caller.interrupted":
            picture.speaking = "caller"
        case "call.resumed" | "stream.lost" | "call.handed_over" | "transfer.started":
            picture.speaking, picture.partial = "", ""
        case _:
            pass
